"""What the gate decided and why, in a form that is stored with the promotion and shown to people."""

from __future__ import annotations

from dataclasses import dataclass, field

from drillcore.json_types import Json, Values

CHECKED = "checked"  # the rule that fails where nothing is known to be true of the images


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the gate and how the challenger did.

    Attributes:
        name: stable short name: images, lineage, weights, better, majority, class_drop, checked,
            latency, size.
        passed: whether it is met.
        text: one line for a person, with the figures.
        figures: the same as plain values for JSON.
        checked: whether there was anything to check; a rule without stands in nobody's way.
    """

    name: str
    passed: bool
    text: str
    figures: Json = field(default_factory=dict)
    checked: bool = True

    def as_dict(self) -> Json:
        """Return plain values for JSON; a rule that checked nothing says so."""
        plain: Json = {"name": self.name, "passed": self.passed, "text": self.text, "figures": self.figures}
        return plain if self.checked else {**plain, "checked": False}


def outcome(rule: Values) -> str:
    """Return how a rule, as plain values, came out: yes, no or not checked."""
    return ("yes" if rule.get("checked", True) else "not checked") if rule["passed"] else "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's whole reasoning; passed when every rule is."""

    rules: tuple[Rule, ...]
    challenger: Json  # figures on the frozen images
    champion: Json | None  # the same of the champion it was compared with

    @property
    def passed(self) -> bool:
        """Whether every rule is met."""
        return all(rule.passed for rule in self.rules)

    @property
    def left_to_a_person(self) -> bool:
        """Whether all that stands against it is that its answers could not be checked."""
        return [rule.name for rule in self.rules if not rule.passed] == [CHECKED]

    @property
    def summary(self) -> str:
        """One line: the rules that failed, or the one that decided."""
        failed = [rule.text for rule in self.rules if not rule.passed]
        if self.left_to_a_person:
            return failed[0]
        if failed:
            return "refused: " + "; ".join(failed)
        deciding = [rule.text for rule in self.rules if rule.name in ("better", "majority")]
        return "passed: " + "; ".join(deciding)

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON; `from_dict` reads them."""
        return {
            "passed": self.passed,
            "rules": [rule.as_dict() for rule in self.rules],
            "challenger": self.challenger,
            "champion": self.champion,
        }

    @classmethod
    def from_dict(cls, values: Values) -> Verdict:
        """Read what `as_dict` wrote."""
        rules = tuple(
            Rule(row["name"], row["passed"], row["text"], dict(row["figures"]), row.get("checked", True))
            for row in values["rules"]
        )
        return cls(rules, dict(values["challenger"]), dict(values["champion"]) if values["champion"] else None)
