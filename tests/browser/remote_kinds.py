"""Pages that a reader without a network would see broken: one of each way to fetch something."""

FAR = "https://far.invalid"

# What stands in the page, by kind. Each names an address of its own below FAR.
FETCHES = {
    "script": f'<script src="{FAR}/script.js"></script>',
    "module": f'<script type="module">import x from "{FAR}/module.js"; x();</script>',
    "dynamic import": f'<script>import("{FAR}/dynamic.js").catch(() => 0);</script>',
    "style sheet": f'<link rel="stylesheet" href="{FAR}/style.css">',
    "alternate sheet": f'<link rel="alternate stylesheet" title="x" href="{FAR}/other.css">',
    "icon": f'<link rel="shortcut icon" href="{FAR}/icon.png">',
    "preload": f'<link rel="preload" as="image" href="{FAR}/preload.png">',
    "module preload": f'<link rel="modulepreload" href="{FAR}/preloaded.js">',
    "preconnect": f'<link rel="preconnect" href="{FAR}/">',
    "manifest": f'<link rel="manifest" href="{FAR}/manifest.json">',
    "image": f'<img src="{FAR}/image.png" alt="">',
    "other case": f"<IMG SRC='{FAR.upper()}/CASE.PNG' alt=''>",
    "protocol-relative": '<img src="//far.invalid/relative.png" alt="">',
    "srcset": f'<img srcset="near.png 1x, {FAR}/sharp.png 2x" alt="">',
    "source": f'<picture><source srcset="{FAR}/source.webp"><img src="near.png" alt=""></picture>',
    "audio": f'<audio preload="auto"><source src="{FAR}/audio.ogg"></audio>',
    "video": f'<video preload="auto" src="{FAR}/video.mp4"></video>',
    "poster": f'<video poster="{FAR}/poster.png"></video>',
    "iframe": f'<iframe src="{FAR}/frame.html"></iframe>',
    "srcdoc": f"<iframe srcdoc=\"<img src='{FAR}/inner.png'>\"></iframe>",
    "embed": f'<embed type="image/png" src="{FAR}/embed.png">',
    "object": f'<object data="{FAR}/object.png"></object>',
    "button": f'<input type="image" src="{FAR}/button.png" alt="">',
    "svg image": f'<svg><image href="{FAR}/drawn.png" width="9" height="9"/></svg>',
    "inline style": f"<p style=\"background: url('{FAR}/ground.png')\">x</p>",
    "@import": f'<style>@import "{FAR}/imported.css";</style>',
    "@import url": f"<style>@import url({FAR}/imported-url.css) screen;</style>",
    "font-face": f'<style>@font-face {{ font-family: "F"; src: url("{FAR}/font.woff2"); }}'
    ' body { font-family: "F"; }</style>',
}
# These two would change the other addresses, or leave the page.
ALONE = {
    "base": f'<base href="{FAR}/elsewhere/">',
    "refresh": f'<meta http-equiv="refresh" content="0; url={FAR}/next.html">',
}
# Nothing of this is fetched by opening the page.
HARMLESS = f"""
<a href="{FAR}/link.html">a link</a>
<link rel="canonical" href="{FAR}/canonical.html">
<link rel="next" href="next.html">
<!-- <script src="{FAR}/comment.js"></script> -->
<style>/* @import "{FAR}/comment.css"; */ p {{ background: url(near.png); }}</style>
<script>const address = "{FAR}/text.js"; // a text, not an import</script>
<img src="data:image/png;base64,//8=" srcset="near.png 1x, far,//near.png 2x" alt="">
<svg xmlns="http://www.w3.org/2000/svg"><use href="#here"/></svg>
<p>url({FAR}/prose.png)</p>
"""


def page(body: str) -> str:
    return f"<!doctype html><html lang='en'><title>x</title><body>{body}</body></html>"
