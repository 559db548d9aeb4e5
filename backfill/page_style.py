"""How `report.html` looks: light, dark, narrow and on paper. No name here comes from data."""

from __future__ import annotations

from typing import Final

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser itself keeps the page from loading or running anything."""

STYLE: Final = """
:root{--ink:#1c2024;--soft:#5b636b;--line:#d7dce0;--paper:#fff;--card:#f6f7f9;--warn:#b4400f;
--good:#17703c;--s1:#2a6fdb;--s2:#9aa3ad;--s3:#d79a00;--s4:#c8401d;--s5:#5aa9a3;--s6:#c9ced4;
--s7:#8b5fbf;--s8:#4b8b3b;--d0:#e9ecef;--d1:#c6dbf7;--d2:#93bbf0;--d3:#5c96e6;--d4:#2a6fdb;
--d5:#123f86}
@media (prefers-color-scheme : dark){:root{--ink:#e6e9ec;--soft:#a2abb4;--line:#3a4149;
--paper:#14171a;--card:#1d2226;--warn:#ff9a6b;--good:#6bd394;--s1:#6aa5ff;--s2:#7b858f;
--s3:#f0c04a;--s4:#ff8362;--s5:#74cdc6;--s6:#4b535b;--s7:#bf9bea;--s8:#8fcf7d;--d0:#262c32;
--d1:#1f3a62;--d2:#295590;--d3:#3c78c8;--d4:#6aa5ff;--d5:#cfe2ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1000px;margin:0 auto;padding:24px 20px 48px}
h1{font-size:1.7rem;margin:0 0 4px}h2{font-size:1.25rem;margin:36px 0 10px}
h3{font-size:1rem;margin:20px 0 4px}p{margin:6px 0}
code,pre{font:0.92em/1.45 ui-monospace,SFMono-Regular,Consolas,"DejaVu Sans Mono",monospace;
overflow-wrap:anywhere}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:8px 12px;
margin:6px 0 12px;white-space:pre-wrap}
.state{display:inline-block;padding:2px 12px;border-radius:99px;border:1px solid currentColor}
.good{color:var(--good)}.look{color:var(--warn)}.bad{color:var(--warn)}
.error,.note{background:var(--card);border-left:4px solid var(--warn);padding:8px 12px}
.note{border-color:var(--s3)}
.wide,figure{overflow-x:auto;margin:8px 0}
figure svg{display:block;width:100%;min-width:600px;height:auto;color:var(--ink)}
figure svg text{fill:var(--ink)}
table{border-collapse:collapse;width:100%;font-size:.94rem}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:break-word}
td:first-child{white-space:nowrap}td code{white-space:normal}
th{color:var(--soft);font-weight:600}.n{text-align:right;width:1%;font-variant-numeric:tabular-nums;
white-space:nowrap}
.bar{display:inline-block;width:100%;min-width:80px;height:.7em;background:var(--d0);
border-radius:3px;overflow:hidden}
.bar span{display:block;height:100%;background:var(--s1)}
.key{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.5em}
.delivered{background:var(--s1)}.filtered{background:var(--s2)}.held{background:var(--s3)}
.rejected{background:var(--s4)}.unchanged{background:var(--s5)}.pending{background:var(--s6)}
.sum,footer{color:var(--soft);font-size:.9rem}footer{margin-top:40px}
ul,ol{padding-left:1.3em;margin:6px 0}
@media (max-width:520px){main{padding:16px 12px 32px}h1{font-size:1.4rem}
th,td{padding-right:8px}.bar{min-width:40px}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--card:#f4f4f4;--warn:#a33a0d;
--good:#17703c;--s1:#2a6fdb;--s2:#9aa3ad;--s3:#d79a00;--s4:#c8401d;--s5:#5aa9a3;--s6:#c9ced4;
--s7:#8b5fbf;--s8:#4b8b3b;--d0:#e9ecef;--d1:#c6dbf7;--d2:#93bbf0;--d3:#5c96e6;--d4:#2a6fdb;
--d5:#123f86}
*{print-color-adjust:exact}main{max-width:none;padding:0}figure svg{min-width:0}
figure,tr,h2,h3,pre{break-inside:avoid}h2,h3{break-after:avoid}}
""".strip()
