"""Panels of a page: a grain map to paint on, or to read tokens from, and images. HTML, CSS and JavaScript."""

from d2it import pictures

# Filled in by the browser: `value` is a digit for each region, as `drawing.map_text` has it, in rows of `columns`;
# `picture` is an address, `aspect` the image's width over its height.
TEMPLATE = """
<div class="head"><b>${title}</b>${names.map((name, grain) => `
  <label><input type="radio" name="brush" value="${grain}" ${grain == names.length - 1 ? "checked" : ""}>
  <i data-grain="${grain}"></i>${name}</label>`).join("")}
  ${names.length ? `<button type="button">${names.length > 2 ? "all" : "paint all"}</button>` : ""}
</div>
<div class="regions" style="grid-template-columns: repeat(${columns}, 1fr); aspect-ratio: ${aspect};
  font-size: ${Math.min(14, 160 / columns)}px;
  background-image: ${picture ? `url(${picture})` : "none"}">
  ${[...value].map((grain, i) => `<i data-region="${i}" data-grain="${grain}">${tokens[grain] ?? ""}</i>`).join("")}
</div>
"""

# `value` is the address of an image, `aspect` its width over its height.
IMAGE = """
<div class="head"><b>${title}</b>${value ? `<a href="${value}" download="d2it.png">save</a>` : ""}</div>
<div class="regions" style="aspect-ratio: ${aspect}; background-image: ${value ? `url(${value})` : "none"}"></div>
"""

STYLE = """
.head { display: flex; gap: 12px; align-items: center; min-height: 28px; font-size: 14px; white-space: nowrap; }
.head label { display: flex; gap: 8px; align-items: center; cursor: pointer; }
.head input { position: absolute; opacity: 0; }
.head i { width: 14px; height: 14px; outline-offset: 2px; }
.head input:checked + i { outline: 2px solid currentColor; }
.head button { border: 1px solid currentColor; border-radius: 4px; padding: 0 6px; }
.head button, .head a { margin-left: auto; color: inherit; }
.regions { display: grid; background-color: rgb(128 128 128 / 0.15); background-size: cover;
  image-rendering: pixelated; }
.regions i { display: grid; place-items: center; font-style: normal; color: white; overflow: hidden;
  text-shadow: 0 0 3px black; }
"""

# One region after another takes the brush's grain while the pointer is down; what is painted is sent when it is up.
PAINT = """
let painting = false;
const brush = () => element.querySelector("input:checked").value;
const send = () => {
  props.value = [...element.querySelectorAll("[data-region]")].map(region => region.dataset.grain).join("");
  trigger("input");
};
const paint = event => {
  const under = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-region]");
  if (under && element.contains(under)) under.dataset.grain = brush();
};
element.addEventListener("pointerdown", event => {
  if (!event.target.closest("[data-region]")) return;
  event.preventDefault();
  painting = true;
  paint(event);
});
element.addEventListener("pointermove", event => { if (painting) paint(event); });
for (const end of ["pointerup", "pointercancel"])
  window.addEventListener(end, () => { if (painting) { painting = false; send(); } });
element.addEventListener("click", event => {
  if (!event.target.closest("button")) return;
  for (const region of element.querySelectorAll("[data-region]")) region.dataset.grain = brush();
  send();
});
"""


def style(grains: int, flat: bool) -> str:
    """CSS with the colours that pictures of grain maps have: flat, or tints that let a picture through."""
    rules = [STYLE]
    for grain, colour in enumerate(pictures.grain_colours(grains)):
        red, green, blue = (round(float(part)) for part in colour)
        inside, border = (1.0, 0.6) if flat else (pictures.TINT, pictures.BORDER)
        line = f"rgb(255 255 255 / {border})" if flat else f"rgb({red} {green} {blue} / {border})"
        rules.append(f".head [data-grain='{grain}'] {{ background: rgb({red} {green} {blue}); }}")
        rules.append(
            f".regions [data-grain='{grain}'] {{ background: rgb({red} {green} {blue} / {inside}); "
            f"box-shadow: inset 0 0 0 1px {line}; }}"
        )
    return "\n".join([*rules, ".regions { cursor: crosshair; touch-action: none; }" if not flat else ""])
