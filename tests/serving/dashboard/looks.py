"""What can be measured of a page's looks: words that overlap, that are cut off, or that can hardly be read."""

from __future__ import annotations

from playwright.sync_api import Page

OVERLAPS = """(part) => {
  const boxes = [];
  const walk = document.createTreeWalker(document.querySelector(part), NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest("script, noscript, dialog:not([open]), .hoverlayer")) continue;
    if (!parent.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width > 1 && box.height > 1) boxes.push({ node, box, text: node.data.trim() });
    }
  }
  const found = [];
  for (let a = 0; a < boxes.length; a++) {
    for (let b = a + 1; b < boxes.length; b++) {
      if (boxes[a].node === boxes[b].node) continue;
      const [one, other] = [boxes[a].box, boxes[b].box];
      const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      // lines of text stand closer than their boxes are high
      if (width > 2 && height > 5) found.push(`${boxes[a].text} / ${boxes[b].text}`);
    }
  }
  return found;
}"""

CUT_OFF = """(part) => [...document.querySelector(part).querySelectorAll("*")]
  .filter((element) => element.checkVisibility() && !element.closest("svg, dialog:not([open])"))
  .filter((element) => element.clientWidth > 0 && getComputedStyle(element).display !== "inline")
  .filter((element) => element.scrollWidth > element.clientWidth + 1)
  .map((element) => `${element.tagName}.${element.className}: ${element.scrollWidth} in ${element.clientWidth}`)"""

FAINT = """(part) => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const [x, y, z] = [r, g, b].map((value) => linear(value / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const back = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelector(part).querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    if (element.closest("script, noscript, svg, .stale, :disabled, dialog:not([open])")) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(back(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const large = parseFloat(getComputedStyle(element).fontSize) >= 24;
    if (contrast < (large ? 3 : 4.5)) found.push(`${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""
"""Less contrast than WCAG 2.2 asks for at level AA."""


def blemishes(page: Page, part: str = "body") -> dict[str, list[str]]:
    """Of the page, or of what the selector `part` finds, by kind; kinds without any are left out."""
    beyond = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    found = {
        "wider than the window, pixels": [str(beyond)] if beyond > 0 else [],
        "words over words": page.evaluate(OVERLAPS, part),
        "cut off": page.evaluate(CUT_OFF, part),
        "too faint": page.evaluate(FAINT, part),
    }
    return {kind: what for kind, what in found.items() if what}
