/* Shared by all widgets of the book: drawing, controls, and the two lives of a widget.
 *
 * A classic script without dependencies. In the rendered book it is loaded with the page, finds the
 * mount points that Python wrote and starts each widget on the data beside it: without a kernel,
 * over http as from a file. In JupyterLab the same text is the head of an anywidget module, and the
 * widget talks to Python through its model.
 */
(() => {
  "use strict";
  const eam = (globalThis.eamlab ??= { widgets: {} });
  const SVG = "http://www.w3.org/2000/svg";
  const HERE = globalThis.document?.currentScript?.src;

  // ------------------------------------------------------------------------------------- drawing

  const fill = (node, attributes, children) => {
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.flat(Infinity));
    return node;
  };
  eam.html = (tag, attributes, ...children) =>
    fill(document.createElement(tag), attributes, children);
  eam.svg = (tag, attributes, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);

  /** Path through points [[x, y], ...], left out where a coordinate is not finite. */
  eam.path = (points) => {
    let pen = "M";
    let d = "";
    for (const [x, y] of points) {
      if (!Number.isFinite(x + y)) { pen = "M"; continue; }
      d += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    }
    return d;
  };

  /** Linear map of [a, b] to [c, d], with its ends. */
  eam.scale = (a, b, c, d) =>
    Object.assign((x) => c + ((x - a) / (b - a)) * (d - c), { domain: [a, b], range: [c, d] });

  /** About n round numbers in [a, b]. */
  eam.ticks = (a, b, n = 4) => {
    const raw = (b - a) / n;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
    const values = [];
    for (let i = Math.ceil(a / step - 1e-9); i * step <= b + 1e-9 * step; i++) values.push(i * step);
    return { values, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  };

  /** Horizontal axis with ticks below y. */
  eam.axis = (x, y, n = 3) => {
    const [left, right] = x.range;
    const { values, digits } = eam.ticks(...x.domain, n);
    const room = values.filter((v) => x(v) > left + 12 && x(v) < right - 12);
    return eam.svg("g", { class: "eam-axis" },
      eam.svg("path", { d: `M${left} ${y}H${right}` }),
      room.map((v) => [
        eam.svg("path", { d: `M${x(v).toFixed(1)} ${y}v4` }),
        eam.svg("text", { x: x(v).toFixed(1), y: y + 15, "text-anchor": "middle" },
          eam.number(v, digits)),
      ]));
  };

  /** What a panel is about, beside its symbol, squeezed where that leaves it no room. */
  eam.beside = (text, [left, top, width]) => {
    const [room, usual] = [width - 73, 6.2 * text.length];  // px: the longest symbol ends at 69
    return eam.svg("text", { class: "eam-small", x: left + width - 2, y: top + 14,
      "text-anchor": "end",
      ...(usual > room ? { textLength: room, lengthAdjust: "spacingAndGlyphs" } : {}) }, text);
  };

  /** Contents of an SVG text: a symbol with its subscript. */
  eam.symbol = ([main, below]) => [main,
    eam.svg("tspan", { dy: 4, "font-size": "0.75em" }, below), eam.svg("tspan", { dy: -4 }, "\u200b")];

  /** A number with a true minus sign. */
  eam.number = (value, digits = 1) => {
    const text = value.toFixed(digits);
    return /^-[0.]*$/.test(text) ? text.slice(1) : text.replace("-", "−");
  };

  /** Density of equally probable points (quantiles, not draws: little smoothing will do). */
  eam.density = (points, xs) => {
    const n = points.length;
    const mean = points.reduce((a, b) => a + b, 0) / n;
    const sd = Math.sqrt(points.reduce((a, b) => a + (b - mean) ** 2, 0) / n);
    const middle = (points[Math.floor(0.75 * (n - 1))] - points[Math.floor(0.25 * (n - 1))]) / 1.35;
    const width = Math.max((xs[1] - xs[0]) / 2, 0.4 * Math.min(sd, middle || sd));
    const norm = 1 / (n * width * Math.sqrt(2 * Math.PI));
    return xs.map((x) =>
      norm * points.reduce((sum, p) => sum + Math.exp(-0.5 * ((x - p) / width) ** 2), 0));
  };

  /** Standard normal numbers from a seed (mulberry32 and Box-Muller), the same in every browser. */
  eam.random = (seed) => {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    const normal = () =>
      Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return { uniform, normal };
  };

  /** int16 array from base64. */
  eam.decode = (text) => {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    return new Int16Array(bytes.buffer);
  };

  /** Address of a file of this folder. */
  eam.address = (file) => new URL(file, HERE).href;

  const loading = new Map();
  /** Load a script of this folder, once; a rendered page needs no server for it. */
  eam.load = (file) => {
    if (!loading.has(file)) {
      loading.set(file, new Promise((done, failed) => {
        const script = eam.html("script", { src: eam.address(file) });
        script.onload = done;
        script.onerror = () => {
          loading.delete(file);
          failed(new Error(`${file} could not be loaded`));
        };
        document.head.append(script);
      }));
    }
    return loading.get(file);
  };

  // ------------------------------------------------------------------------------------ controls

  const OURS = {
    // JupyterLab takes the arrow keys to move between cells, but for elements that carry this.
    "data-lm-suppress-shortcuts": "true",
    // On the way back to a page a browser would move the controls, and the picture would not know.
    autocomplete: "off",
  };

  let count = 0;
  const labelled = (label, control, note, output) => {
    control.id = `eam-${Math.random().toString(36).slice(2, 8)}-${++count}`;
    const name = eam.html("label", { for: control.id }, label);
    const head = eam.html("div", { class: "eam-head" }, name, output ?? "");
    const box = eam.html("div", { class: "eam-control" }, head, control);
    if (note) {
      const hint = eam.html("small", { id: `${control.id}-note` }, note);
      control.setAttribute("aria-describedby", hint.id);
      box.append(hint);
    }
    return box;
  };

  /** Slider over stops; `change(value)` is called for every move. Returns {node, set, offer, disable}. */
  eam.slider = ({ label, stops, value, format = String, note, name }, change) => {
    const input = eam.html("input", { type: "range", min: 0, step: 1, name, ...OURS });
    const output = eam.html("output", { "aria-hidden": "true" });
    const show = () => {
      const text = format(stops[input.value]);
      output.textContent = text;
      input.setAttribute("aria-valuetext", text);
    };
    const set = (v) => {
      const place = stops.indexOf(v);
      if (place < 0) throw new Error(`${name} = ${v} is not on its slider`);
      input.value = place;
      show();
    };
    const moved = () => { show(); change(stops[input.value]); };
    input.addEventListener("input", moved);
    // A finger that scrolls the page may have begun on a slider.
    let before = null;
    input.addEventListener("pointerdown", () => { before = input.value; });
    input.addEventListener("pointercancel", () => { input.value = before; moved(); });
    const offer = (others, v) => {
      stops = others;
      input.max = stops.length - 1;
      set(v);
    };
    const node = labelled(label, input, note, output);
    offer(stops, value);
    const disable = (off) => {
      input.disabled = off;
      node.classList.toggle("eam-off", off);
    };
    return { node, set, offer, disable };
  };

  /** One choice of several, as radio buttons. */
  eam.choice = ({ label, options, value, name }, change) => {
    const group = `eam-${name}-${++count}`;
    const buttons = Object.entries(options).map(([key, text]) => {
      const input = eam.html("input", { type: "radio", name: group, value: key, ...OURS });
      input.checked = key === value;
      input.addEventListener("change", () => change(key));
      return eam.html("label", {}, input, eam.html("span", {}, text));
    });
    if (!(value in options)) throw new Error(`${name} = ${value} is not one of its choices`);
    const legend = eam.html("legend", {}, label);
    const node = eam.html("fieldset", { class: "eam-choice", "data-name": name }, legend, buttons);
    const set = (key) => {
      for (const input of node.querySelectorAll("input")) input.checked = input.value === key;
    };
    return { node, set };
  };

  /** A box to tick; `change(ticked)` is called. */
  eam.tick = ({ label, value, name }, change) => {
    const input = eam.html("input", { type: "checkbox", name, ...OURS });
    input.checked = value;
    input.addEventListener("change", () => change(input.checked));
    const node = eam.html("label", { class: "eam-tick" }, input, eam.html("span", {}, label));
    return { node, set: (ticked) => { input.checked = ticked; } };
  };

  eam.button = (text, click, attributes) => {
    const node = eam.html("button", { type: "button", class: "eam-button", ...attributes }, text);
    node.addEventListener("click", click);
    return node;
  };

  /** The start of a caption, which says whose answer one sees. */
  eam.tag = (life, text = life) =>
    eam.html("span", { class: "eam-tag", "data-life": life }, text);

  const REST_MS = 700;

  /** The parts every widget has: picture, caption, controls, and `say(text, problem)` on its state. */
  eam.frame = (el, title) => {
    const picture = eam.html("div", { class: "eam-picture" });
    const caption = eam.html("p", { class: "eam-caption" });
    const status = eam.html("p", { class: "eam-status", role: "status", "aria-live": "polite" });
    const controls = eam.html("div", { class: "eam-controls" });
    const heard = eam.html("p", { class: "eam-heard", "aria-live": "polite" });
    const root = eam.html("section", { class: "eam-widget", "aria-label": title },
      picture, caption, controls, status, heard);
    // What a control has done is said once it rests, not at every step of the way.
    let rest = null;
    const hear = () => {
      clearTimeout(rest);
      rest = setTimeout(() => { heard.textContent = caption.textContent; }, REST_MS);
    };
    for (const kind of ["input", "click"]) controls.addEventListener(kind, hear);
    el.replaceChildren(root);
    const say = (text, problem = false) => {
      status.textContent = text;
      status.classList.toggle("eam-problem", problem);
    };
    return { root, picture, caption, controls, say, hear };
  };

  /** Call `draw(width)` now and whenever the width of `node` changes. Returns how to stop. */
  eam.fit = (node, draw) => {
    let last = 0;
    const look = () => {
      const width = Math.round(node.clientWidth);
      if (width > 0 && width !== last) { last = width; draw(width); }
    };
    const observer = new ResizeObserver(look);
    observer.observe(node);
    look();
    return () => observer.disconnect();
  };

  // ---------------------------------------------------------------------------------- two lives

  const PATIENCE_MS = 20000;

  /**
   * Ask Python for answers, where it is there.
   *
   * One question is on its way at a time, and of those that wait only the newest is kept, so that
   * dragging a slider never leaves a queue behind; an answer to an older question than the last
   * one asked is dropped, and a late one to the last is still welcome. `answer(content)` is called,
   * `refused()` where there will be none, and `say(text, problem)` all the while.
   */
  eam.connect = (model, { say, answer, refused }) => {
    let waiting = null;   // question not yet sent
    let asked = null;     // question on its way
    let wanted = null;    // key of the newest question
    let timer = null;

    const free = () => { clearTimeout(timer); asked = null; };
    const fail = (text) => { refused?.(); say(text, true); };
    const next = () => {
      if (asked || !waiting) return;
      asked = waiting;
      waiting = null;
      say("Waiting for the kernel …");
      timer = setTimeout(() => {
        free();
        say("No answer yet: the kernel is busy, or gone. The picture goes on without it, and turns " +
          "live when the answer comes.");
        next();
      }, PATIENCE_MS);
      try {
        model.send({ type: "ask", ...asked });
      } catch {
        free();
        fail("The kernel is gone. The picture goes on without it; run the cell again for live " +
          "answers.");
      }
    };
    const receive = (message) => {
      if (asked && message.key === asked.key) free();
      if (message.key === wanted && !waiting) {
        say("");
        if (message.type === "answer") answer(message.content);
        else fail(message.text);
      }
      next();
    };
    model.on("msg:custom", receive);
    return {
      ask: (key, settings) => { wanted = key; waiting = { key, settings }; next(); },
      stop: () => { free(); model.off("msg:custom", receive); },
    };
  };

  /** What anywidget calls: draw the model's page in the place of its still. */
  eam.entry = (name) => ({
    render({ model, el }) {
      const page = model.get("_page");
      const target = eam.html("div");
      el.replaceChildren(eam.html("style", {}, `.${page.still} { display: none; }`), target);
      return eam.widgets[name](target, page, model);
    },
  });

  /** What the page's address says of a widget: `#composition.d0=0.1&film.frame=3`. */
  const linked = (key) => {
    const found = {};
    for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
      const [of, setting] = name.split(".");
      if (of === key && setting) found[setting] = text && isFinite(text) ? Number(text) : text;
    }
    return found;
  };
  let followed = globalThis.location?.hash;  // the address that the widgets know
  const link = (key, settings) => {
    const hash = location.hash.slice(1);
    const all = new URLSearchParams(hash.includes("=") ? hash : "");
    for (const name of [...all.keys()]) if (name.startsWith(`${key}.`)) all.delete(name);
    for (const [name, value] of Object.entries(settings)) all.set(`${key}.${name}`, value);
    const address = String(all) ? `#${all}` : location.pathname + location.search;
    if (String(all) || hash.includes("=")) history.replaceState(history.state, "", address);
    followed = location.hash;
  };
  const REMEMBER_MS = 300;  // browsers refuse addresses that change with every move of a slider

  /** Start the widget of a place on its own settings and what the address says of them. */
  const begin = (place, key, given) => {
    const page = { settings: {}, ...given };
    let stop, timer, changed = {}, keeps = false;
    const note = eam.html("span", { class: "eam-status", role: "status" });
    const write = () => {
      clearTimeout(timer);
      link(key, changed);
    };
    const keep = (settings) => {
      keeps = true;
      changed = Object.fromEntries(
        Object.entries(settings).filter(([name, value]) => value !== page.settings[name]));
      note.textContent = "";
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (location.hash === followed) write();  // else a new link has come and is followed next
      }, REMEMBER_MS);
    };
    const start = (own) => {
      const box = eam.html("div");
      place.append(box);
      try {
        const unknown = Object.keys(own).find((name) => !(name in page.settings));
        if (unknown) throw new Error(`there is no ${unknown}`);
        stop = eam.widgets[key.replace(/\d+$/, "")](
          box, { ...page, settings: { ...page.settings, ...own }, keep });
      } catch (error) {
        box.remove();
        throw error;
      }
      for (const other of [...place.children]) if (other !== box && other.matches("div")) other.remove();
      if (!keeps) return;  // nothing that a link could hold
      box.firstChild.append(eam.html("div", { class: "eam-links" },
        eam.button("Copy link", copy), eam.button("Reset", reset), note));
    };
    const again = (own) => {
      stop?.();
      clearTimeout(timer);
      changed = own;
      note.textContent = "";
      try {
        start(own);
      } catch (error) {
        if (!Object.keys(own).length) throw error;
        changed = {};
        start({});
        note.textContent = `The link could not be followed: ${error.message}.`;
      }
    };
    const reset = () => { again({}); write(); place.querySelector(".eam-links button").focus(); };
    const copy = async () => {
      write();
      try {
        await navigator.clipboard.writeText(location.href);
        note.textContent = "Copied: the page as this picture stands.";
      } catch {
        note.textContent = "The link stands in the page's address.";
      }
    };
    again(linked(key));
    return () => { if (keeps) again(linked(key)); };
  };

  const mounted = new Map();  // key: a function that follows the address again
  let led = false;  // to the first widget of the link that was opened
  const mount = (place) => {
    const name = place.dataset.eamWidget;
    let key = name;
    for (let n = 2; mounted.has(key); n++) key = `${name}${n}`;
    const fallback = place.querySelector(".eam-fallback");
    try {
      const page = JSON.parse(place.querySelector("script").textContent);
      mounted.set(key, begin(place, key, page));
      fallback.remove();
      place.dataset.eamReady = "yes";
      if (!led && Object.keys(linked(key)).length) {
        led = true;
        place.scrollIntoView();
      }
    } catch (error) {  // keep the picture that is there
      fallback.append(eam.html("p", { class: "eam-status" },
        `The interactive version could not start (${error.message}); this is a still of it.`));
    }
  };
  globalThis.addEventListener?.("hashchange", () => {  // another link on the same page
    followed = location.hash;
    if (location.hash.includes("=")) for (const follow of mounted.values()) follow();
  });

  /** Start every widget of a rendered page. */
  eam.mountAll = async () => {
    for (const place of document.querySelectorAll("[data-eam-widget]:not([data-eam-ready])")) {
      mount(place);
      await new Promise((go) => setTimeout(go));  // the page has its turn
    }
  };
})();
