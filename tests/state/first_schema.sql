-- As revision 471cddf made it: never changed here.
CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY);
CREATE TABLE lease (name VARCHAR(250) NOT NULL PRIMARY KEY, holder VARCHAR(500) NOT NULL, token VARCHAR(250) NOT NULL,
 expires DOUBLE PRECISION NOT NULL);
CREATE TABLE alias_history (model VARCHAR(250) NOT NULL, alias VARCHAR(250) NOT NULL, seq INTEGER NOT NULL,
 version INTEGER NOT NULL, previous INTEGER, action VARCHAR(20) NOT NULL, who VARCHAR(250) NOT NULL,
 moved_at VARCHAR(40) NOT NULL, why TEXT NOT NULL, figures TEXT NOT NULL, verdict TEXT,
 status VARCHAR(20) NOT NULL, PRIMARY KEY (model, alias, seq));
INSERT INTO schema_version VALUES (1);
INSERT INTO lease VALUES ('retrain:m', 'host:7 retrain', 'abcdefabcdef:7:1732912345.12:ff', 99999999999);
INSERT INTO alias_history VALUES
 ('m', 'champion', 1, 1, NULL, 'promote', 'ada', '2026-01-02T00:00:00.000+00:00', 'first', '{"accuracy":0.5}', NULL,
  'done'),
 ('m', 'champion', 2, 4, 1, 'promote', 'ada', '2026-01-01T00:00:00.000+00:00', 'clock', '{}',
  '{"passed":true}', 'done');
