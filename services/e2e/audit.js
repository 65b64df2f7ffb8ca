// What an accessibility checker would say of the page, and what a phone would show: a list of problems, empty when there is none.
(() => {
  const problems = [];
  const say = (what, e) => problems.push(what + (e ? ": " + e.outerHTML.slice(0, 120) : ""));
  const root = document.documentElement;
  if (!root.lang) say("the page has no language");
  if (!document.title.trim()) say("the page has no title");
  if (document.querySelectorAll("h1").length !== 1) say("the page has " + document.querySelectorAll("h1").length + " main headings");
  const viewport = document.querySelector('meta[name="viewport"]');
  if (!viewport || /maximum-scale|user-scalable/.test(viewport.content)) say("the page blocks zooming, or has no viewport");

  const ids = new Set();
  for (const e of document.querySelectorAll("[id]")) {
    if (ids.has(e.id)) say("an id stands twice", e);
    ids.add(e.id);
  }
  const visible = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;
  const hiddenForSighted = (e) => { const r = e.getBoundingClientRect(); return r.width <= 1 || r.height <= 1; };
  for (const e of document.querySelectorAll("input, select, textarea")) {
    if (e.type === "hidden" || !visible(e)) continue;
    if (!e.labels.length && !e.ariaLabel && !e.getAttribute("aria-labelledby")) say("a field has no label", e);
    if (!e.autocomplete && /email|password|name/.test(e.name)) say("a field tells password managers nothing", e);
    if (e.maxLength >= 0 && e.type === "password") say("a password has a longest length", e);
    if (e.required) say("a field asks the browser for its bubble", e);
    if (e.getAttribute("aria-invalid") === "true" && !e.getAttribute("aria-describedby")) say("a wrong field does not say what is wrong", e);
  }
  for (const attribute of ["aria-describedby", "aria-labelledby", "aria-controls", "for"])
    for (const e of document.querySelectorAll("[" + attribute + "]"))
      for (const id of e.getAttribute(attribute).split(/\s+/))
        if (!document.getElementById(id)) say(attribute + " names nothing", e);
  for (const e of document.querySelectorAll("a, button")) {
    if (!visible(e)) continue;
    if (!(e.innerText.trim() || e.ariaLabel || e.querySelector("img[alt]"))) say("a link or button has no name", e);
    if (e.tagName === "A" && !e.getAttribute("href")) say("a link leads nowhere", e);
  }
  for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) say("an image has no text", e);
  let level = 0;
  for (const e of document.querySelectorAll("main h1, main h2, main h3")) {
    if (visible(e) && e.closest(".problem") === null) {
      const l = +e.tagName[1];
      if (l > level + 1) say("a level of headings is left out", e);
      level = l;
    }
  }

  // Contrast (WCAG 2.2, 1.4.3): each text against what is behind it.
  const parse = (c) => {
    const m = c.match(/[\d.]+/g).map(Number), unit = c.startsWith("color(srgb") ? 255 : 1; // color-mix() computes to color(srgb …), in 0 to 1
    return { r: m[0] * unit, g: m[1] * unit, b: m[2] * unit, a: m.length > 3 ? m[3] : 1 };
  };
  const lin = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const lum = (c) => 0.2126 * lin(c.r) + 0.7152 * lin(c.g) + 0.0722 * lin(c.b);
  const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  // All colours that may be behind an element: of a gradient each.
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const style = getComputedStyle(e), gradient = style.backgroundImage.match(/rgba?\([^)]*\)/g);
      if (gradient) return gradient.map(parse);
      const c = parse(style.backgroundColor);
      if (c.a === 1) return [c];
      if (c.a > 0) { say("a translucent background cannot be judged", e); return [c]; }
    }
    const dark = matchMedia("(prefers-color-scheme: dark)").matches && getComputedStyle(root).colorScheme.includes("dark");
    return [dark ? { r: 18, g: 18, b: 18, a: 1 } : { r: 255, g: 255, b: 255, a: 1 }];
  };
  const worst = (color, backs) => Math.min(...backs.map((b) => ratio(parse(color), b)));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walker.nextNode());) {
    const e = n.parentElement;
    if (!n.data.trim() || !visible(e) || hiddenForSighted(e) || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    const r = worst(style.color, behind(e));
    if (r < (large ? 3 : 4.5) - 0.005) say("contrast " + r.toFixed(2) + " of " + JSON.stringify(n.data.trim().slice(0, 40)), e);
  }
  for (const e of document.querySelectorAll("input")) {
    if (e.type === "hidden" || !visible(e)) continue;
    const style = getComputedStyle(e);
    if (parseFloat(style.borderTopWidth) > 0) {
      const r = worst(style.borderTopColor, behind(e.parentElement));
      if (r < 2.995) say("the edge of a field has contrast " + r.toFixed(2), e);
    }
  }

  // Targets (2.5.8) and reflow (1.4.10).
  for (const e of document.querySelectorAll("button, input, a")) {
    if (e.type === "hidden" || !visible(e) || hiddenForSighted(e)) continue;
    if (e.tagName === "A" && getComputedStyle(e).display === "inline") continue; // links in a sentence are excepted
    const r = e.getBoundingClientRect();
    if (r.height < 24 || r.width < 24) say("a target of " + Math.round(r.width) + "×" + Math.round(r.height), e);
    if (e.classList.contains("primary") && r.height < 44) say("a main button " + Math.round(r.height) + " px high", e);
  }
  if (document.scrollingElement.scrollWidth > innerWidth) say("the page scrolls sideways: " + document.scrollingElement.scrollWidth + " of " + innerWidth + " px");
  for (const e of document.querySelectorAll("main *, header *, footer *")) {
    const r = e.getBoundingClientRect();
    if (visible(e) && !hiddenForSighted(e) && r.right > innerWidth + 1) { say("something ends outside the page", e); break; }
  }
  return problems;
})()
