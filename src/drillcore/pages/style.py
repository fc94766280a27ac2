"""How pages look: one style sheet, system fonts, light and dark by the reader's own setting."""

STYLE = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#566375;--line:#d9dfe7;--accent:#1f5f99;
--good:#1c6b32;--good-bg:#e3f3e6;--bad:#a3211b;--bad-bg:#fbe6e4;--warn-bg:#eef2f7}
@media (prefers-color-scheme:dark){:root{--bg:#11161d;--card:#1a212b;--ink:#e6ebf2;--soft:#a3b0c0;--line:#313c4a;
--accent:#86bdf0;--good:#8fd6a0;--good-bg:#173122;--bad:#f5a49d;--bad-bg:#3a1d1c;--warn-bg:#242e3a}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;overflow-wrap:break-word}
body{background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif}
header,main,footer,nav ul{max-width:74rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.2rem;padding-bottom:.9rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:0 0 .8rem}
h3{font-size:1.02rem;margin:1.4rem 0 .4rem}
p{margin:.4rem 0 .8rem;max-width:70ch}
.lead{color:var(--soft);margin:0 0 1rem}
nav{position:sticky;top:0;z-index:2;background:var(--bg);border-bottom:1px solid var(--line)}
nav ul{display:flex;gap:.2rem 1.1rem;list-style:none;overflow-x:auto;padding-top:.55rem;padding-bottom:.55rem}
a{color:var(--accent)}nav a{text-decoration:none;white-space:nowrap}nav a:hover{text-decoration:underline}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-999px}
.skip:focus{left:.5rem;top:.5rem;background:var(--card);padding:.4rem .8rem;z-index:3}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.2rem 1.3rem;margin:1.1rem 0;
scroll-margin-top:3.2rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.2rem,1fr));gap:.7rem;margin:.6rem 0 .2rem}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.7rem .85rem}
.tile b{display:block;font-size:1.45rem;line-height:1.2;font-variant-numeric:tabular-nums}
.tile span{font-size:.86rem;display:block}.tile span:not(.good):not(.bad){color:var(--soft)}
.badge{display:inline-block;border-radius:99px;padding:.08rem .65rem;font-size:.84rem;font-weight:600;
background:var(--warn-bg);border:1px solid var(--line);margin-right:.35rem;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}
.badge.good{background:var(--good-bg);border-color:transparent}.badge.bad{background:var(--bad-bg);border-color:transparent}
.verdict{border-left:5px solid var(--line);padding:.5rem .9rem;border-radius:4px;background:var(--warn-bg)}
.verdict.good{border-color:var(--good);color:inherit}.verdict.bad{border-color:var(--bad);color:inherit}
.narrow{max-width:46rem}.nowrap{white-space:nowrap}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;width:100%;font-size:.94rem}
caption{text-align:left;color:var(--soft);font-size:.88rem;padding:0 0 .4rem}
th,td{padding:.36rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th[scope=row]{font-weight:500;overflow-wrap:anywhere;min-width:8rem}
thead th{color:var(--soft);font-weight:600;font-size:.86rem;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr));gap:.1rem 2rem;margin:.4rem 0}
dl.one{grid-template-columns:1fr}
dl>div{display:flex;gap:.8rem;border-bottom:1px solid var(--line);padding:.32rem 0}
dt{color:var(--soft);flex:0 0 8.6rem}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
code,.mono{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.9em;overflow-wrap:anywhere}
pre.command{white-space:pre-wrap;overflow-wrap:anywhere}
pre{overflow-x:auto;background:var(--warn-bg);padding:.8rem;border-radius:8px;font-size:.86rem}
figure{margin:1rem 0;display:inline-block;max-width:100%}
figure img{max-width:100%;height:auto;display:block;background:#fff;border:1px solid var(--line);border-radius:8px}
figure.large{display:block;overflow:auto;max-height:92vh;border:1px solid var(--line);border-radius:8px;background:#fff}
figure.large img{max-width:none;border:0}
figure.large figcaption{position:sticky;left:0;padding:0 .6rem .4rem;color:#566375}
figcaption{color:var(--soft);font-size:.9rem;margin-top:.35rem;max-width:70ch}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(30rem,100%),1fr));gap:0 1.4rem;align-items:start}
summary{cursor:pointer;color:var(--accent);padding:.35rem 0;font-weight:500}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.9rem;list-style:none;padding:0}
.cards li{border:1px solid var(--line);border-radius:10px;padding:.6rem;background:var(--card);overflow-wrap:anywhere;
font-size:.88rem}
.cards figure{margin:0 0 .45rem;display:block}.cards img{width:100%;height:9.5rem;object-fit:contain;
image-rendering:pixelated;background:#f1f1f1}
.cards p{margin:.1rem 0}.cards .path{color:var(--soft);font-size:.78rem}
.prose{overflow-x:auto}.prose table{width:auto}.prose h1{font-size:1.3rem}.prose h2{font-size:1.1rem;margin-top:1.2rem}
footer{color:var(--soft);font-size:.86rem;padding-top:.6rem;padding-bottom:2.5rem}
@media (max-width:40rem){section{padding:.9rem .85rem;border-radius:9px}header{padding-top:1.3rem}h1{font-size:1.5rem}
th,td{padding:.34rem .45rem}dt{flex-basis:7rem}th[scope=row]{min-width:6.5rem;overflow-wrap:break-word}
thead th{white-space:normal}
figure.wide{display:block;overflow-x:auto}figure.wide img{max-width:none;width:42rem}
.rules thead{display:none}.rules tr,.rules td,.rules th{display:block;border:0;padding:.1rem 0}
.rules tr{border-bottom:1px solid var(--line);padding:.5rem 0}
.cards{grid-template-columns:repeat(auto-fill,minmax(8.4rem,1fr));gap:.6rem}.cards img{height:7.5rem}}
@media print{:root{color-scheme:light;--bg:#fff;--card:#fff;--ink:#1b2430;--soft:#566375;--line:#d9dfe7;
--accent:#1f5f99;--good:#1c6b32;--good-bg:#e3f3e6;--bad:#a3211b;--bad-bg:#fbe6e4;--warn-bg:#eef2f7}
nav,.skip{display:none}section{border:0;padding:.6rem 0}h2,h3{break-after:avoid}
figure,tr,.tile,.cards li{break-inside:avoid}
pre{white-space:pre-wrap}.scroll,figure.large{overflow:visible;max-height:none}
figure.large img,figure.wide img{max-width:100%;width:auto}}
"""
