"""What a hostile hand-in may hold where somebody will read it, and what a page that shows it must not hold."""

import re

from bs4 import BeautifulSoup

CALL = "window.top.gotcha=1;alert(1);fetch('http://127.0.0.1:9/spy')"
SPY = "http://127.0.0.1:9/spy"

MARKUP = [
    f"<script>{CALL}</script>",
    f"<img src=x onerror=\"{CALL}\">",
    f"<img src='{SPY}.png'>",
    f"<svg onload=\"{CALL}\"><script>{CALL}</script></svg>",
    f"<svg><style><img src=x onerror=\"{CALL}\"></style></svg>",
    f"<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=x onerror={CALL}&gt;\">",
    f"<math href=\"javascript:{CALL}\">x</math>",
    f"<iframe srcdoc=\"<script>{CALL}</script>\"></iframe><iframe src={SPY}></iframe>",
    f"<object data={SPY}></object><embed src={SPY}>",
    f"<link rel=stylesheet href={SPY}.css><base href={SPY}>",
    f"<meta http-equiv=refresh content='0;url={SPY}'>",
    f"<style>@import '{SPY}.css'; body {{display: none}}</style>",
    f"<div style=\"background:url({SPY}.png);position:fixed;inset:0\">over all</div>",
    f"<details open ontoggle=\"{CALL}\">x</details>",
    f"<form action={SPY}><input autofocus onfocus=\"{CALL}\"><button>go</button></form>",
    f"<a href=\"javascript:{CALL}\">x</a><a href=\"jav\tascript:{CALL}\">x</a><a href=\"data:text/html,<script>{CALL}</script>\">x</a>",
    f"<video src={SPY}></video><audio src={SPY}></audio><source src={SPY}>",
    f"</pre></div></main></body></html><script>{CALL}</script>",
    f"<noscript><p title=\"</noscript><img src=x onerror={CALL}>\">",
    f"<textarea></textarea><xmp><script>{CALL}</script></xmp>",
    f"<!--><script>{CALL}</script>-->",
]
MARKDOWN = [
    f"[x](javascript:{CALL})",
    f"![x]({SPY}.png) ![y][z]\n\n[z]: {SPY}.png",
    f"[x]: javascript:{CALL}\n\n[x]",
    "![gone](attachment:gone.png) ![odd](attachment:a(1).png) ![](attachment:)",
    "![up](../../../../../etc/passwd) ![dir](.) ![nul](a%00b.png)",
    f"```mermaid\n<script>{CALL}</script>\n```",
    f"```\"><script>{CALL}</script>\nx\n```",
    f"$\\href{{javascript:{CALL}}}{{x}}$ $\\text{{&lt;script&gt;{CALL}&lt;/script&gt;}}$",
    f"$$\\text{{<img src=x onerror=\"{CALL}\">}}$$ $\\unicode{{x3c}}$",
    f"\\begin{{x}}<script>{CALL}</script>\\end{{x}}",
    "{{ 7 * 7 }} {% include 'x' %} {{ resources }}",
    f"<{SPY}> {SPY}",
    "\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07 \x00 \ufffe",
]
OUTPUTS = [
    {"text/html": markup} for markup in MARKUP
] + [
    {"image/svg+xml": f'<svg xmlns="http://www.w3.org/2000/svg" onload="{CALL}"><script>{CALL}</script><image href="{SPY}.png"/></svg>'},
    {"application/javascript": CALL},
    {"text/markdown": MARKUP[0]},
    {"text/latex": f"$\\href{{javascript:{CALL}}}{{x}}$ <script>{CALL}</script>"},
    {"image/png": f"\"><script>{CALL}</script>"},
    {"application/vnd.jupyter.widget-view+json": {"model_id": f"</script><script>{CALL}</script>"}},
    {"application/pdf": "JVBERi0=", "text/plain": f"<script>{CALL}</script>"},
]

ACTIVE = ["script", "iframe", "object", "embed", "link", "base", "form", "input", "button", "textarea", "svg", "video", "audio",
          "source", "noscript", "xmp", "frame", "frameset", "applet", "template", "annotation-xml", "mglyph"]


def findings(page: str) -> list[str]:
    """What a page holds that runs, or loads from elsewhere, as a browser parses it."""
    tree = BeautifulSoup(page, "html5lib")
    found = [str(tag)[:200] for tag in tree.find_all(ACTIVE)]
    found += [str(tag)[:200] for tag in tree.body.find_all(["style", "meta", "title"])]
    for tag in tree.find_all(True):
        found += [f"{tag.name} {name}={value}"[:200] for name, value in tag.attrs.items() if not _harmless(tag.name, name, value)]
    return found


def _harmless(tag: str, name: str, value) -> bool:
    value = " ".join(value) if isinstance(value, list) else value
    name = name.lower()
    if name.startswith("on") or name in ("srcdoc", "action", "formaction", "background", "poster", "ping", "srcset"):
        return False
    if name == "href" or name.endswith(":href"):
        return tag == "a" and re.fullmatch(r"https?://[^\s]*|#.*|(?!//)[^:]*", value.strip(), re.DOTALL) is not None
    if name == "src":
        return tag == "img" and value.startswith(("data:image/png;", "data:image/jpeg;", "data:image/gif;", "data:image/svg+xml;"))
    return name != "style" or not re.search(r"url\s*\(|expression|@import|position|javascript", value, re.IGNORECASE)
