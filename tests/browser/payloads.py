"""A hundred texts that a page must show as text. Any that runs sets ``window.owned``."""

from __future__ import annotations

RUN = "window.owned=1"
_EVENTS = ("load", "error", "mouseover", "focus", "click", "toggle", "begin", "animationstart")
_TAGS = (
    "img src=x", "svg", "body", "video src=x", "audio src=x", "input autofocus", "details open",
    "iframe", "object data=x", "embed src=x", "marquee", "select autofocus", "textarea autofocus",
    "style", "link rel=stylesheet href=x", "math", "button autofocus", "form", "isindex",
    "a href=x",
)  # fmt: skip
_WHOLE = (
    f"<script>{RUN}</script>",
    f"<SCRIPT>{RUN}</SCRIPT>",
    f"<script src=data:text/javascript,{RUN}></script>",
    f"</script><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"</textarea><script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"</pre><script>{RUN}</script>",
    f"</option></select><script>{RUN}</script>",
    f"</svg><script>{RUN}</script>",
    f"</text></svg><script>{RUN}</script>",
    f"--><script>{RUN}</script>",
    f"<!--><script>{RUN}</script>-->",
    f"<![CDATA[<script>{RUN}</script>]]>",
    f"]]><script>{RUN}</script>",
    f"'><script>{RUN}</script>",
    f'"><script>{RUN}</script>',
    f"`><script>{RUN}</script>",
    f'" onmouseover="{RUN}" x="',
    f"' onmouseover='{RUN}' x='",
    f'" autofocus onfocus="{RUN}',
    f'x" style="animation-name:x" onanimationstart="{RUN}',
    f"javascript:{RUN}",
    f"JaVaScRiPt:{RUN}",
    f"java\tscript:{RUN}",
    f"data:text/html,<script>{RUN}</script>",
    f"vbscript:{RUN}",
    f'<a href="javascript:{RUN}">x</a>',
    f'<a href="java&#115;cript:{RUN}">x</a>',
    f'<form action="javascript:{RUN}"><button>x</button></form>',
    f'<iframe src="javascript:{RUN}"></iframe>',
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f'<base href="javascript:{RUN}//">',
    f'<meta http-equiv=refresh content="0;url=javascript:{RUN}">',
    '<meta http-equiv=refresh content="0;url=http://evil.example/">',
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<img src=http://evil.example/x.png>",
    "<style>@import 'http://evil.example/x.css';</style>",
    "<style>*{background:url(http://evil.example/)}</style>",
    "{{ 7 * 7 }}{{ ''.__class__ }}",
    "{% for x in range(3) %}x{% endfor %}",
    "${7*7}", "#{7*7}", "<%= 7*7 %>",
    "&lt;script&gt;window.owned=1&lt;/script&gt;",
    "&#60;script&#62;window.owned=1&#60;/script&#62;",
    "\\u003cscript\\u003ewindow.owned=1\\u003c/script\\u003e",
    "%3Cscript%3Ewindow.owned=1%3C/script%3E",
    "+ADw-script+AD4-window.owned=1+ADw-/script+AD4-",
    f"<svg><script>{RUN}</script></svg>",
    f'<svg><animate onbegin="{RUN}" attributeName=x dur=1s>',
    f'<svg><a xlink:href="javascript:{RUN}"><text>x</text></a></svg>',
    f"<svg><foreignObject><script>{RUN}</script></foreignObject></svg>",
    f"<svg><use href=\"data:image/svg+xml,<svg id=x onload='{RUN}'/>#x\"></svg>",
    f"<math><mtext></mtext><script>{RUN}</script></math>",
    f"<template><script>{RUN}</script></template><script>{RUN}</script>",
    f'<noscript><p title="</noscript><script>{RUN}</script>">',
    f"<img src=x onerror={RUN}//",
    f"<img/src/onerror={RUN}>",
    f"<img src=`x`onerror={RUN}>",
    f"<<script>{RUN}//<</script>",
    f"<scr<script>ipt>{RUN}</scr</script>ipt>",
    f"<script\x20type=module>{RUN}</script>",
    f"<script/x>{RUN}</script>",
    "\u202e<txet>\u202c", "\ufeff<b>", "\u2028<b>\u2029",
    "a<b>c</b>&amp;\"'`", "🦎<b>", "<" * 400,
)  # fmt: skip
PAYLOADS = (
    *_WHOLE,
    *(f"<{tag} on{event}={RUN}>" for tag, event in zip(_TAGS, _EVENTS * 3, strict=False)),
    *(
        f"'\"><{tag} on{event}='{RUN}'>"
        for tag, event in zip(_TAGS, _EVENTS[::-1] * 3, strict=False)
    ),
)
assert len(PAYLOADS) >= 100
assert len(set(PAYLOADS)) == len(PAYLOADS)
