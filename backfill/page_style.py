"""How `report.html` looks: light, dark, narrow and on paper. No name here comes from data."""

from __future__ import annotations

from typing import Final

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser itself keeps the page from loading or running anything."""

STYLE: Final = """
:root{--ink:#1c2024;--soft:#5b636b;--line:#d7dce0;--paper:#fff;--card:#f6f7f9;--warn:#b4400f;
--good:#17703c;--s1:#2a6fdb;--s2:#9aa3ad;--s3:#d79a00;--s4:#c8401d;--s5:#5aa9a3;--s6:#8f6b3f;
--s7:#8b5fbf;--s8:#4b8b3b;--d0:#e9ecef;--d1:#c6dbf7;--d2:#93bbf0;--d3:#5c96e6;--d4:#2a6fdb;
--d5:#123f86;--link:#0b57b0}
@media (prefers-color-scheme : dark){:root{--ink:#e6e9ec;--soft:#a2abb4;--line:#3a4149;
--paper:#14171a;--card:#1d2226;--warn:#ff9a6b;--good:#6bd394;--s1:#6aa5ff;--s2:#7b858f;
--s3:#f0c04a;--s4:#ff8362;--s5:#74cdc6;--s6:#c4a06c;--s7:#bf9bea;--s8:#8fcf7d;--d0:#262c32;
--d1:#1f3a62;--d2:#295590;--d3:#3c78c8;--d4:#6aa5ff;--d5:#cfe2ff;--link:#86b8ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1000px;padding:24px 20px 48px;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 4px}h2{font-size:1.25rem;margin:36px 0 10px}
h3{font-size:1rem;margin:20px 0 4px}p{margin:6px 0}
code,pre{font:0.92em/1.45 ui-monospace,SFMono-Regular,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:8px 12px;
margin:6px 0 12px;white-space:pre-wrap}
a{color:var(--link)}:focus-visible{outline:3px solid var(--link);outline-offset:2px}
main:focus{outline:none}section{scroll-margin-top:12px}
.skip,.away{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
white-space:nowrap}
.skip:focus{width:auto;height:auto;clip-path:none;padding:8px;background:var(--paper)}
nav ul{display:flex;flex-wrap:wrap;gap:2px 16px;list-style:none;padding:0;margin:14px 0 0;
font-size:.94rem}
.state{display:inline-block;padding:2px 12px;border-radius:16px;border:1px solid currentColor}
.good{color:var(--good)}.look{color:var(--warn)}.bad{color:var(--warn)}
.error,.note{background:var(--card);border-left:4px solid var(--warn);padding:8px 12px}
.note{border-color:var(--s3)}
figure{margin:8px 0 16px}figure svg{display:block;width:100%;height:auto;overflow:visible;
color:var(--ink)}
figure svg text{fill:var(--ink)}figcaption{color:var(--soft);font-size:.9rem;margin-top:6px}
.of{display:inline-block}figcaption .of{margin-right:12px;color:var(--ink)}th .of,.day{
white-space:nowrap}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.94rem}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);
vertical-align:top;font-weight:400}
thead th{color:var(--soft);font-weight:600;overflow-wrap:normal}
.n{text-align:right;width:1%;font-variant-numeric:tabular-nums;white-space:nowrap}
tr>:last-child{padding-right:0}
td.deco{width:20%;min-width:80px}
.bar{display:inline-block;width:100%;height:.7em;background:var(--d0);
border-radius:3px;overflow:hidden}
.bar span{display:block;height:100%;background:var(--s1)}
.key{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.5em}
.s1{background:var(--s1)}.s2{background:var(--s2)}.s3{background:var(--s3)}.s4{background:var(--s4)}
.s5{background:var(--s5)}.s6{background:var(--s6)}.s7{background:var(--s7)}.s8{background:var(--s8)}
.d0{background:var(--d0)}.d1{background:var(--d1)}.d2{background:var(--d2)}.d3{background:var(--d3)}
.d4{background:var(--d4)}.d5{background:var(--d5)}.mark{width:2px;background:var(--warn)}
.sum,footer{color:var(--soft);font-size:.9rem}footer{margin-top:40px}
ul,ol{padding-left:1.3em;margin:6px 0}
@media (max-width:760px){figure svg text{font-size:14px!important}}
@media (max-width:520px){body{padding:16px 12px 32px}h1{font-size:1.4rem}
table{font-size:.88rem}th,td{padding-right:8px}thead .n{white-space:normal}.deco{display:none}
figure svg text{font-size:19px!important}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--card:#f4f4f4;--warn:#a33a0d;
--good:#17703c;--s1:#2a6fdb;--s2:#9aa3ad;--s3:#d79a00;--s4:#c8401d;--s5:#5aa9a3;--s6:#8f6b3f;
--s7:#8b5fbf;--s8:#4b8b3b;--d0:#e9ecef;--d1:#c6dbf7;--d2:#93bbf0;--d3:#5c96e6;--d4:#2a6fdb;
--d5:#123f86;--link:#0b57b0}
@page{margin:14mm}
*{print-color-adjust:exact}body{max-width:none;padding:0;font-size:10.5pt}nav,.skip{display:none}
.wide{overflow:visible}
figure,tr,pre,.cause,.next li{break-inside:avoid}h2,h3,.lead{break-after:avoid}
tbody tr:first-child{break-before:avoid}figure svg text{font-size:12px!important}
.deco{display:table-cell}td.deco{width:15%}thead .n{white-space:nowrap}}
""".strip()
