// needs: core
/* From a file of responses to people's trials, in the page: what reading.py does, with its words.
 *
 * `eam.reading.read(bytes, name, options)` is a generator, as the engine's are. It returns a study,
 * or throws an Error whose `answers` are the options that its message offers; read again with those.
 * Options are those of `read_trials`; a coding is a list of pairs, where ELSE stands for all others.
 * A person's trials are [choice, time, ...], whose conditions have the codes in `codes`.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const ELSE = "\u0000else";
  const YOURS = "your name";
  const COLUMNS = {
    subject: ["participant_id", "subj_idx", "subject", "subject_id", "participant", "subj"],
    rt: ["rt", "reaction_time", "response_time"],
    response: ["response", "choice"],
  };
  const UNITS = { s: 1, ms: 1e-3, us: 1e-6 };
  const UNIT_NAMES = { s: "seconds", ms: "milliseconds", us: "microseconds" };
  const [SHORT, LONG] = [0.02, 20];  // median times (s) between which a unit is likely
  const TOO_LONG = 10 * LONG;
  const MOST_NEGATIVE = 0.2;
  const MUCH_DROPPED = 0.1;
  const FEW = 5;
  const BLOCK = 3;
  const SHOWN = 5;
  const MOST_BYTES = 20e6;  // more would keep a phone busy, and belongs into Python
  const OTHER = "other condition";  // a reason to leave out
  const AT_ONCE = 4000;  // rows between two turns of the page
  const NOT_TEXT = /\.(xlsx|xls|ods|sav|mat|rds|parquet|feather|gz|zip|pdf|docx?|numbers|png|jpe?g)$/i;
  const SEPARATORS = { ",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces" };
  const NO_HEADER = /^(\s*$|[#%]|"?sep=."?[\s,;]*$)/i;
  const DECIMALS = {
    ".": [/^[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)?(\.\d*)?(e[+-]?\d+)?$/i, /,/g],
    ",": [/^[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)?(,\d*)?(e[+-]?\d+)?$/i, /\./g],
  };
  const NUMBER = /^\s*[+-]?\d*[.,]?\d+\s*$/;
  const PLAIN_NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  const ACCURACY = new Set(["accuracy", "acc", "correct", "corr", "is_correct"]);
  const LOWER = new Set(["lower", "error", "err", "incorrect", "wrong", "no", "left"]);
  const UPPER = new Set(["upper", "correct", "corr", "right", "yes"]);
  const MISSING = new Set(["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan",
    "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]);

  // --------------------------------------------------------------------------------------- words

  /** A number as Python's format "g" has it. */
  const general = (x, digits) => {
    if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
    if (x === 0) return "0";
    const power = Number(x.toExponential(digits - 1).split("e")[1]);
    if (power >= -4 && power < digits) {
      const text = x.toFixed(Math.max(0, digits - 1 - power));
      return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
    }
    const [front, back] = x.toExponential(digits - 1).split("e");
    const size = String(Math.abs(back)).padStart(2, "0");
    return `${front.includes(".") ? front.replace(/\.?0+$/, "") : front}e${back < 0 ? "-" : "+"}${size}`;
  };
  /** A number as Python's `repr` has it, whole ones without the point. */
  const plain = (x) => (Number.isFinite(x)
    ? String(x).replace(/e([+-])(\d)$/, "e$10$2") : x > 0 ? "inf" : "-inf");
  const point = (x) => (Number.isInteger(x) ? `${plain(x)}.0` : plain(x));
  const quoted = (text) => {
    const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
    const marks = { "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", [mark]: `\\${mark}` };
    return mark + text.replace(/[\\\n\t\r'"]/g, (c) => marks[c] ?? c) + mark;
  };
  const list = (values) => `[${values.map(literal).join(", ")}]`;
  const tuple = (values, one = literal) =>
    `(${values.map(one).join(", ")}${values.length === 1 ? "," : ""})`;
  const literal = (value) => {
    if (value === ELSE) return "...";
    if (value === null) return "None";
    if (typeof value === "number") return plain(value);
    return Array.isArray(value) ? list(value) : quoted(String(value));
  };
  const OPTION = {
    coding: (pairs) => `{${pairs.map(([k, v]) => `${literal(k)}: ${literal(v)}`).join(", ")}}`,
    columns: (names) =>
      `{${Object.entries(names).map(([k, v]) => `'${k}': ${literal(v)}`).join(", ")}}`,
    conditions: (told) => (typeof told === "string" ? literal(told)
      : `{${Object.entries(told).map(([k, pair]) => `${literal(k)}: ${tuple(pair)}`).join(", ")}}`),
    missing: (values) => tuple(values),
    rt_range: (limits) => tuple(limits),
  };
  /** Options as one would write them in Python. */
  const written = (options) => Object.entries(options)
    .map(([name, value]) => `${name}=${(OPTION[name] ?? literal)(value)}`).join(", ");
  const some = (values) => values.slice(0, SHOWN).join(", ") +
    (values.length > SHOWN ? ` and ${values.length - SHOWN} more` : "");
  const counted = (n, noun) => `${n.toLocaleString("en-US")} ${noun}${n === 1 ? "" : "s"}`;

  /** A message with the options in it; `say(options)` gives their text and keeps them. */
  const question = (compose) => {
    const answers = [];
    const say = (options) => { answers.push(options); return `\`${written(options)}\``; };
    const text = compose(say);
    return Object.assign(new Error(text), { answers });
  };
  const refuse = (text) => { throw Object.assign(new Error(text), { answers: [] }); };

  const quantile = (sorted, q) => {
    const at = (sorted.length - 1) * q;
    const low = Math.floor(at);
    const high = Math.min(low + 1, sorted.length - 1);
    return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
  };
  const median = (values) => quantile(Float64Array.from(values).sort(), 0.5);
  const there = (value) => value !== null && value === value;
  /** How often each value is there, most frequent first. */
  const valueCounts = (values) => {
    const counts = new Map();
    for (const v of values) if (there(v)) counts.set(v, (counts.get(v) ?? 0) + 1);
    return new Map([...counts].sort((a, b) => b[1] - a[1]));
  };

  // ----------------------------------------------------------------- encoding, separator, header

  const decoded = (bytes, name) => {
    const starts = (...mark) => mark.every((b, i) => bytes[i] === b);
    const as = (encoding, rest = bytes) => new TextDecoder(encoding, { fatal: true }).decode(rest);
    let text;
    const remarks = [];
    try {
      if (starts(0xff, 0xfe, 0, 0)) text = wide(bytes, true);
      else if (starts(0, 0, 0xfe, 0xff)) text = wide(bytes, false);
      else if (starts(0xff, 0xfe)) text = as("utf-16le");
      else if (starts(0xfe, 0xff)) text = as("utf-16be");
      else {
        const head = bytes.subarray(0, 400);
        const zeros = head.reduce((n, b, i) => n + (i % 2 === 1 && b === 0), 0);
        text = as(zeros > Math.floor(head.length / 4) ? "utf-16le" : "utf-8");
      }
    } catch (error) {
      text = as("windows-1252");
      remarks.push(`${name} is not UTF-8 and was read as Windows' cp1252; if names look wrong, ` +
        "save it as UTF-8");
    }
    if (text.includes("\0")) {
      refuse(`${name} is not a text file; read it with pandas and hand over the frame, or save it ` +
        "as CSV, UTF-8.");
    }
    return { text: text.replace(/\r\n?/g, "\n"), remarks };
  };
  const wide = (bytes, little) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let text = "";
    for (let i = 4; i + 3 < bytes.length; i += 4) text += String.fromCodePoint(view.getUint32(i, little));
    return text;
  };

  /** Fields of a record from `at` on; and where the next begins. */
  const record = (text, separator, at, out) => {
    const spaces = separator === " ";
    let i = at;
    const blank = (c) => c === " " || (spaces && c === "\t");
    while (blank(text[i])) i += 1;
    for (;;) {
      let field = "";
      if (text[i] === '"') {
        i += 1;
        for (;;) {
          const end = text.indexOf('"', i);
          if (end < 0) return -1;
          field += text.slice(i, end);
          i = end + 1;
          if (text[i] !== '"') break;
          field += '"';
          i += 1;
        }
      }
      const start = i;
      while (i < text.length && text[i] !== "\n" && text[i] !== separator &&
        !(spaces && text[i] === "\t")) i += 1;
      out.push(field + text.slice(start, i));
      if (i >= text.length || text[i] === "\n") return i + 1;
      i += 1;
      while (blank(text[i])) i += 1;
      if (spaces && (i >= text.length || text[i] === "\n")) return i + 1;
    }
  };
  const fieldsOf = (line, separator) => {
    const out = [];
    const end = record(line.replace(/^ +| +$/g, ""), separator, 0, out);
    return end < 0 ? [line] : out;
  };
  const separatorOf = (line) => {
    const marks = ["|", "\t", ";", ","];
    const widths = marks.map((mark) => fieldsOf(line, mark).length);
    const best = widths.indexOf(Math.max(...widths));
    return widths[best] > 1 ? marks[best] : " ";
  };

  const flat = (columns) => Object.values(columns).flat().filter((x) => x !== null);

  const refuseDoubled = (names) => {
    const trimmed = names.map((name) => String(name).trim());
    const doubled = [...new Set(trimmed.filter((name, i) => name && trimmed.indexOf(name) !== i))];
    if (doubled.length) {
      refuse(`columns ${list(doubled.sort())} occur more than once; rename or remove all but one ` +
        "of each.");
    }
  };

  const refuseNoHeader = (name, lines, first, separator, columns) => {
    const known = new Set([...Object.values(COLUMNS).flat(), ...flat(columns)]);
    const fields = fieldsOf(lines[first], separator);
    if (fields.some((x) => known.has(x.trim()) || known.has(x.toLowerCase().trim()))) return;
    const line = `line ${first + 1} of ${name} is ${quoted(lines[first].slice(0, 80))}`;
    if (fields.some((field) => NUMBER.test(field))) {
      throw question((say) => `${line}: that looks like data, not like names of columns. If the ` +
        "file has no header, say which columns are which, counted from 0: " +
        `${say({ columns: positions(fields) })}?`);
    }
    const below = lines.slice(first + 1).find((x) => x.trim()) ?? "";
    const likely = separatorOf(below);
    const wider = fieldsOf(below, separator).length - fields.length;
    if (likely !== separator && wider !== 0 && wider !== 1 && fieldsOf(below, likely).length > 1) {
      refuse(`${line}: these are not the names of the columns. Delete what stands above them.`);
    }
  };
  const positions = (fields) => {
    const broken = fields.findIndex((field) => /\d[.,]\d/.test(field));
    const rt = broken >= 0 ? broken : Math.min(1, fields.length - 2);
    const all = fields.map((_, i) => i).filter((i) => i !== rt);
    const others = all.length ? all : [rt];
    return { subject: others.length > 1 ? others[0] : null, rt, response: others.at(-1) };
  };

  const refuseLarge = (name, size) => {
    if (size > MOST_BYTES) {
      refuse(`${name} has ${Math.round(size / 1e6)} MB, and this page reads up to ` +
        `${MOST_BYTES / 1e6} MB; read it with eamlab.read_trials in Python.`);
    }
  };

  /** The table: {names, columns: Map, index (lines), source, remarks}. */
  function* tableOf(bytes, name, columns) {
    if (NOT_TEXT.test(name) || /^(%PDF|PK\u0003\u0004)/.test(String.fromCharCode(...bytes.subarray(0, 4)))) {
      refuse(`${name} is not a text file; save its table as CSV.`);
    }
    refuseLarge(name, bytes.length);
    const { text, remarks } = decoded(bytes, name);
    const lines = text.replace(/^\ufeff/, "").split("\n");
    let first = Math.max(0, lines.findIndex((line) => !NO_HEADER.test(line)));
    const separator = separatorOf(lines[first]);
    const fields = fieldsOf(lines[first], separator);
    let names;
    const given = flat(columns);
    if (Object.keys(columns).length === 3 && given.length && given.every(Number.isInteger)) {
      names = fields.map((_, i) => i);
    } else {
      refuseNoHeader(name, lines, first, separator, columns);
      refuseDoubled(fields);
      names = fields.map((field, i) => field.trim() || `unnamed ${i}`);
      first += 1;
    }
    const width = names.length;
    const rows = [];
    const index = [];
    const body = lines.slice(first).join("\n");
    const uneven = () => {
      const widths = lines.slice(first).map((line) => fieldsOf(line, separator).length);
      const long = widths.findIndex((w) => w > width);
      const fault = long >= 0 ? `line ${first + 1 + long} has ${widths[long]} fields`
        : "a quotation mark is not closed";
      refuse(`${name} is not a table with one header line and as many fields in each line as names ` +
        `in the header (${width}: ${some(names.map(literal))}): ${fault}.`);
    };
    for (let at = 0, number = first + 1; at < body.length; number++) {
      const row = [];
      at = record(body, separator, at, row);
      if (at < 0 || row.length > width + 1) uneven();
      const values = row.map((field) => (MISSING.has(field) ? null : field));
      while (values.length < width + 1) values.push(null);
      if (values.some((v) => v !== null)) { rows.push(values); index.push(number); }
      if (rows.length % AT_ONCE === 0) yield { share: at / body.length };
    }
    let left = 0;
    let rowNames = "";
    if (rows.some((row) => row[width] !== null)) {
      const marked = separator !== "," || (lines[first] ?? "").startsWith('"');
      const unique = new Set(rows.map((row) => row[0])).size === rows.length;
      if (!(rows.every((row) => row[width] !== null) && marked && rows.length > 1 && unique)) uneven();
      left = 1;
      rowNames = ", row names left out";
    }
    const how = separator === "," ? "" : `, separated by ${SEPARATORS[separator]}`;
    const source = name + how + rowNames;
    if (!rows.length) refuse(`${source} has no rows below its header; it needs one row per trial.`);
    const table = new Map(names.map((key, k) => [key, rows.map((row) => row[k + left])]));
    return { names, columns: table, index, source, remarks };
  }

  // --------------------------------------------------------------- the columns, and who is a person

  const found = (table, given) => {
    const names = {};
    for (const role of Object.keys(COLUMNS)) {
      if (role === "subject" && role in given && (given[role] === null || Array.isArray(given[role]))) {
        names[role] = (given[role] ?? []).map((x) => named(table, role, { ...given, [role]: x }, names));
      } else {
        const name = named(table, role, given, names);
        names[role] = role === "subject" ? [name] : name;
      }
    }
    return names;
  };
  const named = (table, role, given, names) => {
    const fitting = role in given
      ? table.names.filter((name) => name === given[role])
      : table.names.filter((name) => COLUMNS[role].includes(String(name).trim().toLowerCase()));
    if (fitting.length !== 1) throw columnQuestion(table, role, given, fitting, names);
    return fitting[0];
  };
  const columnQuestion = (table, ...rest) =>
    Object.assign(columnWords(table, ...rest), { names: table.names });
  const columnWords = (table, role, given, fitting, names) => question((keep) => {
    const say = (name) => keep({ columns: { ...given, [role]: name } });
    if (fitting.length) {
      const text = `${list(fitting)} could all be the ${role} column; say which: ${say(fitting[0])}.`;
      for (const name of fitting.slice(1)) say(name);  // the page offers every one
      return text;
    }
    const looked = role in given ? literal(given[role]) : `any of ${list(COLUMNS[role])}`;
    let text = `no ${role} column: looked for ${looked}, the table has ${list(table.names)}.`;
    if (table.names.length >= 3 || role !== "subject") text += ` Say which it is: ${say(YOURS)}.`;
    if (table.names.some((x) => typeof x === "string" && NUMBER.test(x))) {
      text += " If these are the first trial, the file has no header: read it with header=None.";
    }
    if (role === "subject") text += ` If all rows are of one person: ${say(null)}.`;
    const negative = (x) => x !== null && PLAIN_NUMBER.test(x.trim()) && Number(x) < 0;
    if (role === "response" && table.columns.get(names.rt).some(negative)) {
      text += ` If the sign of the times is the response: ${say(names.rt)}.`;
    }
    return text;
  });

  /** Texts that mean "missing" in every column; a number there may be a name. */
  const wordsFor = (missing) => ["", ...missing.filter((x) => typeof x === "string")];
  const plainIds = (column, words) => {
    const texts = column.map((x) => (x === null || words.includes(x.trim()) ? null : x.trim()));
    const whole = texts.every((x) => x === null || /^(0|[1-9]\d{0,14})(\.0)?$/.test(x));
    return whole ? texts.map((x) => (x === null ? null : Number(x))) : texts;
  };
  const subjectIds = (table, names, words) => {
    const parts = names.map((name) => plainIds(table.columns.get(name), words));
    if (parts.length === 1) return parts[0];
    return table.index.map((_, i) => {
      if (!parts.length) return 1;
      const own = parts.map((part) => part[i]);
      return own.includes(null) ? null : own.join("/");
    });
  };

  /** A remark, or a question, if ids seem to start again: their rows stand in separate blocks. */
  function* repeatedIds(table, all, names, given) {
    const rows = all.map((_, i) => i).filter((i) => all[i] !== null);
    const block = [];
    rows.forEach((row, k) => {
      block.push(k && all[row] === all[rows[k - 1]] ? block[k - 1] : (block[k - 1] ?? 0) + 1);
    });
    const sizes = [...valueCounts(block).values()].sort((a, b) => a - b);
    const people = new Set(rows.map((row) => all[row])).size;
    if (sizes.length === people || quantile(sizes, 0.2) < BLOCK || names.subject.length !== 1) return;
    const firsts = rows.filter((_, k) => k === 0 || block[k] !== block[k - 1]).map((row) => all[row]);
    const again = [...valueCounts(firsts)].filter(([, n]) => n > 1).map(([id]) => id);
    let text = `the rows of ${counted(again.length, "subject")} (${some(again)}) stand in separate ` +
      "blocks";
    yield { share: 1 };
    const column = telling(table, rows, all, block, names.subject);
    if (column !== null) text += ` that differ in ${literal(column)}`;
    if (column !== null && !("subject" in given)) {
      const [name] = names.subject;
      const as = (subject) => ({ columns: { ...given, subject } });
      throw question((say) => `${text}. Are these other people with the same ids? Then say ` +
        `${say(as([column, name]))}; if they are the same people, ${say(as(name))}.`);
    }
    return Array.isArray(given.subject) ? [] : [`${text}; each id was taken for one person`];
  }
  const telling = (table, rows, ids, block, subject) => {
    let best = null;
    let least = Infinity;
    for (const name of table.names) {
      if (subject.includes(name)) continue;
      const column = table.columns.get(name);
      const pairs = (of) => new Set(rows.map((row, k) => `${of(row, k)}\u0000${column[row]}`)).size;
      const blocks = block.at(-1);
      if (pairs((_, k) => block[k]) !== blocks || pairs((row) => ids[row]) !== blocks) continue;
      const kinds = new Set(rows.map((row) => column[row]).filter(there)).size;
      if (kinds < least) [best, least] = [name, kinds];
    }
    return best;
  };

  // ------------------------------------------------------------------------- what the values mean

  /** A value as a number if it is one, else as text; true and false are 1 and 0. */
  const keyOf = (value) => {
    const text = String(value).trim().replaceAll("\u2212", "-");
    if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true" ? 1 : 0;
    if (/^[+-]?inf(inity)?$/i.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
    if (/^[+-]?nan$/i.test(text)) return NaN;
    return PLAIN_NUMBER.test(text) ? Number(text) : text;
  };
  const keysOf = (column, missing) => {
    const known = new Map();
    return column.map((value) => {
      if (value === null) return null;
      if (!known.has(value)) {
        const key = keyOf(value);
        known.set(value, missing.includes(key) || key !== key ? null : key);
      }
      return known.get(value);
    });
  };

  const numberIn = (value, mark) => {
    const [pattern, thousands] = DECIMALS[mark];
    const text = value.trim().replaceAll("\u2212", "-");
    if (/^-?(inf|infinity)$/i.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
    if (!pattern.test(text) || !/\d/.test(text)) return null;
    return Number(text.replace(thousands, "").replace(mark, "."));
  };
  const timesOf = (name, column, { decimal, missing }) => {
    const keys = keysOf(column, [...missing, ""]);
    if (!decimal && !keys.some((key) => typeof key === "string")) {
      return { times: keys.map((key) => key ?? NaN), how: "" };
    }
    const values = [...new Set(column.filter((_, i) => keys[i] !== null))];
    const readings = Object.fromEntries((decimal ? [decimal] : Object.keys(DECIMALS)).map((mark) =>
      [mark, new Map(values.map((x) => [x, numberIn(x, mark)]))]));
    const marks = Object.keys(readings);
    const words = values.filter((x) => marks.every((mark) => readings[mark].get(x) === null));
    if (words.length) throw notNumbers(name, column, words, missing);
    const fitting = marks.filter((mark) => ![...readings[mark].values()].includes(null));
    if (fitting.length !== 1) throw decimalQuestion(name, values, fitting);
    const reading = readings[fitting[0]];
    const times = column.map((x) => reading.get(x) ?? NaN).map((x) => (missing.includes(x) ? NaN : x));
    return { times, how: `, decimal '${fitting[0]}'` };
  };
  const notNumbers = (name, column, words, missing) => question((say) => {
    const odd = new Set(words);
    const n = column.filter((x) => odd.has(x)).length;
    const text = `column ${literal(name)} (rt) has values that are not numbers, in ` +
      `${counted(n, "row")}: ${some(words.map(literal))}; `;
    if (n > column.filter(there).length / 2 || words.length > 4 * SHOWN) {
      return `${text}is it the right column?`;
    }
    return `${text}if they mean 'no response', say ${say({ missing: [...missing, ...words] })}.`;
  });
  const decimalQuestion = (name, values, fitting) => question((say) => {
    const marked = values.filter((x) => /[.,]/.test(x));
    const text = `column ${literal(name)} (rt) has numbers such as ${some(marked.map(literal))}; `;
    if (!fitting.length) return `${text}decimal points and decimal commas are mixed. Mend the file.`;
    return `${text}say ${say({ decimal: "," })} if commas are decimal marks, ` +
      `${say({ decimal: "." })} if they separate thousands.`;
  });

  const responsesOf = (name, column, { coding, missing }) => {
    const keys = keysOf(column, missing);
    const counts = valueCounts(keys);
    const pairs = coding?.length ? coding : [[counts.has(-1) ? -1 : 0, 0], [1, 1]];
    const known = new Map(pairs);
    if (!known.has(ELSE) && [...counts.keys()].some((value) => !known.has(value))) {
      throw codingQuestion(name, counts, coding);
    }
    const other = known.get(ELSE) ?? null;
    return keys.map((key) => (key === null ? null : known.has(key) ? known.get(key) : other));
  };
  const codingQuestion = (name, counts, coding) => question((say) => {
    const text = (v) => (typeof v === "number" ? point(v) : v);
    const values = [...counts.keys()].sort((a, b) => (text(a) < text(b) ? -1 : 1));
    let words = `column ${literal(name)} (response) has the values ${some(values.map(literal))}; `;
    if (coding) {
      const said = new Set(coding.map(([key]) => key));
      const unsaid = values.filter((value) => !said.has(value));
      words += `the coding says nothing of ${some(unsaid.map(literal))}.`;
      if (unsaid.length < values.length) {
        words += ` If they mean 'no response', say ${say({ coding: [...coding, [ELSE, null]] })}.`;
      }
      return words;
    }
    const { pair, known } = pairOf([...counts.keys()]);
    const rest = values.filter((value) => !pair.includes(value));
    const only = LOWER.has(String(pair[0]).toLowerCase()) ? 0 : 1;
    const codes = pair.length > 1 ? [0, 1] : [only];
    const no = (rest.length < 2 ? rest : [ELSE]).map((value) => [value, null]);
    words += "say which is 0 (lower) and which 1 (upper)";
    if (rest.length) words += ", and which are no response (... stands for all others)";
    words += `: ${say({ coding: [...pair.map((value, i) => [value, codes[i]]), ...no] })}`;
    if (known) return `${words}.`;
    say({ coding: [...pair.map((value, i) => [value, 1 - codes[i]]), ...no] });
    return `${words}? Or the other way round?`;
  });
  const pairOf = (values) => {
    const numbers = [[-1, 1], [0, 1]].filter((pair) => pair.every((v) => values.includes(v)))
      .sort((a, b) => values.indexOf(a[0]) - values.indexOf(b[0]));  // misses are rarer than errors
    if (numbers.length) return { pair: numbers[0], known: true };
    const within = (words) => values.filter((v) => words.has(String(v).toLowerCase()));
    const [lower, upper] = [within(LOWER), within(UPPER)];
    if (lower.length && upper.length) return { pair: [lower[0], upper[0]], known: true };
    const one = [...lower, ...upper].slice(0, 1);
    const others = values.filter((value) => !one.includes(value)).slice(0, 2 - one.length);
    if (one.length) {
      return { pair: lower.length ? [...one, ...others] : [...others, ...one],
        known: values.length === 2 };
    }
    const text = (v) => (typeof v === "number" ? point(v) : v);
    return { pair: others.sort((a, b) => (text(a) < text(b) ? -1 : 1)), known: false };
  };

  /** Remarks on columns that say who was right, if nobody has said that responses are others. */
  const unlikeAccuracy = (table, { subject, response }, names, given, kept) => {
    const taken = [names.rt, names.response, ...names.subject];
    const found = "response" in given ? [] : table.names.filter((name) =>
      !taken.includes(name) && ACCURACY.has(String(name).trim().toLowerCase()));
    return found.flatMap((name) => {
      const right = keysOf(table.columns.get(name), [""]);
      const people = bySubject(subject, (i) => right[i] !== response[i],
        (i) => kept(i) && (right[i] === 0 || right[i] === 1));
      const n = [...people.values()].flat().filter(Boolean).length;
      if (!n) return [];
      const alike = [...people].filter(([, unlike]) => !unlike.includes(true)).map(([id]) => id);
      const answer = { columns: { ...given, response: name } };
      const but = alike.length ? `, but is for ${counted(alike.length, "subject")} (${some(alike)})` : "";
      return [{ text: `${literal(names.response)} is not ${literal(name)} in ${counted(n, "trial")}${but}; ` +
        `where upper should mean right, as with two kinds of stimuli, say \`${written(answer)}\``, answer }];
    });
  };

  /** A condition as one would write it: a number, or words, which true and false are, too. */
  const nameOf = (value) => {
    const text = String(value).trim().split(/\s+/).join(" ");
    const key = keyOf(value);
    return typeof key === "string" || /^(true|false)$/i.test(text) ? text : key;
  };
  /** What stands for a condition, whatever its capitals and spaces. */
  const folded = (value) => {
    const name = nameOf(value);
    return typeof name === "string" ? name.toLowerCase() : name;
  };
  /** Codes of the two conditions, null where missing, infinite for others; their names; remarks. */
  const conditionsOf = (table, names, conditions, words) => {
    const [[column, told]] = typeof conditions === "string" ? [[conditions, null]]
      : Object.entries(conditions);
    const name = table.names.find((one) => String(one) === column);
    if (name === undefined) {
      refuse(`no condition column: looked for ${quoted(column)}, the table has ${list(table.names)}.`);
    }
    if ([names.rt, names.response].includes(name) ||
      (names.subject.length === 1 && names.subject[0] === name)) {
      refuse(`conditions: ${quoted(column)} is the column of the subject, rt or response already; name ` +
        "another.");
    }
    const values = table.columns.get(name);
    const usable = (x) => x !== null && nameOf(x) === nameOf(x) && !words.includes(nameOf(x));
    const spelt = new Map();  // the ways to write each condition
    for (const value of new Set(values.filter(usable))) {
      const key = folded(value);
      spelt.set(key, [...new Set([...(spelt.get(key) ?? []), nameOf(value)])]);
    }
    const keys = [...spelt.keys()].sort((a, b) =>
      (typeof a === typeof b ? (a < b ? -1 : 1) : typeof a === "number" ? -1 : 1));
    const ways = keys.map((key) => some(spelt.get(key).map(literal)));
    const text = `column ${quoted(column)} (condition) has ` +
      (keys.length ? `the values ${some(ways)}` : "no values");
    const absent = (told ?? []).filter((value) => !spelt.has(folded(value)));
    if (absent.length) refuse(`${text}; nobody did ${some(absent.map(literal))}.`);
    const pair = told ? told.map(nameOf) : keys.map((key) => spelt.get(key)[0]);
    if (pair.length > 2) throw conditionQuestion(text, column, pair);
    if (pair.length < 2) {
      refuse(`${text}: no two conditions to compare, whatever capitals and spaces. Read it without ` +
        "conditions=.");
    }
    const [low, high] = pair.map(folded);
    const codeOf = (key) => (key === low ? -0.5 : key === high ? 0.5 : Infinity);
    const known = new Map(values.map((x) => [x, usable(x) ? codeOf(folded(x)) : null]));
    const merged = ways.filter((_, i) => spelt.get(keys[i]).length > 1)
      .map((way) => `${quoted(column)}: ${way} were taken for one condition`);
    return { codes: values.map((x) => known.get(x)), column, pair, merged, told: told !== null,
      labels: pair.map((v) => (typeof v === "number" ? plain(v) : v)) };
  };
  const conditionQuestion = (text, column, values) => question((say) => {
    const words = `${text}; say which two to compare, the lower code first: ` +
      `${say({ conditions: { [column]: values.slice(0, 2) } })}?`;
    for (const [i, low] of values.slice(0, SHOWN).entries()) {  // the page offers every pair
      for (const high of values.slice(Math.max(i + 1, i ? 0 : 2), SHOWN)) {
        say({ conditions: { [column]: [low, high] } });
      }
    }
    return words;
  });
  /** Remarks on an order that nobody stated, and on people who did one condition only. */
  const unlikeConditions = ({ codes, column, labels, pair, told }, subject, kept) => {
    const notes = [];
    if (!told) {
      const answer = { conditions: { [column]: [pair[1], pair[0]] } };
      notes.push({ text: `${quoted(column)}: changes are those from ${quoted(labels[0])} to ` +
        `${quoted(labels[1])}; for the other way round, say \`${written(answer)}\``, answer });
    }
    const done = bySubject(subject, (i) => codes[i], kept);
    const one = [...done].filter(([, own]) => new Set(own).size < 2).map(([id]) => id);
    if (one.length === done.size) {
      notes.push({ text: `${quoted(column)}: nobody did both; for other people in each condition, ` +
        "compose study.under(condition) of each and subtract the draws" });
    } else if (one.length) {
      notes.push({ text: `${counted(one.length, "subject")} (${some(one)}) did one condition only` });
    }
    return notes;
  };

  /** A remark on people at one half, far below all others: they may be coded by stimulus. */
  const atHalf = (table, { subject, response }, names, given, kept) => {
    const accuracy = (x) => ACCURACY.has(String(x).trim().toLowerCase());
    if ("response" in given || table.names.some(accuracy)) return [];
    const people = [...bySubject(subject, (i) => response[i], kept)].map(([id, own]) => {
      const share = Math.asin(Math.sqrt(own.reduce((a, b) => a + b, 0) / own.length)) - Math.PI / 4;
      return { id, share, half: Math.abs(share) < 1.25 / Math.sqrt(own.length) };
    });
    const [half, others] = [true, false].map((which) => people.filter((p) => p.half === which));
    if (Math.min(half.length, others.length) < 3 || others.some((p) => p.share < 0)) return [];
    const mean = (part) => part.reduce((sum, p) => sum + p.share, 0) / part.length;
    const squares = (part) => part.reduce((sum, p) => sum + (p.share - mean(part)) ** 2, 0);
    const within = Math.sqrt((squares(half) + squares(others)) / people.length);
    if (!(mean(others) - mean(half) > 3.5 * within)) return [];
    const answer = { columns: { ...given, response: names.response } };
    return [{ text: `${counted(half.length, "subject")} (${some(half.map((p) => p.id))}) chose upper ` +
      "about half the time, all others far more often: are these coded by stimulus or key, and the " +
      `others by accuracy? Then code all alike in the file; if all are, say \`${written(answer)}\``,
      answer }];
  };

  const unsigned = (times) => ({
    responses: times.map((t) => (t === t ? (t > 0 ? 1 : 0) : null)),
    times: isMarker(times) ? times : times.map(Math.abs),
  });
  /** Whether negative times stand for something else, as -1 does for a missed response. */
  const isMarker = (times) => {
    const negative = times.filter((t) => t < 0);
    const positive = times.filter((t) => t > 0);
    const [fastest, slowest] = positive.reduce(
      ([a, b], t) => [Math.min(a, t), Math.max(b, t)], [Infinity, -Infinity]);
    const between = (low, high) => negative.some((t) => -t >= low && -t <= high);
    if (!negative.length || !between(fastest / 5, 5 * slowest)) return true;
    const counts = [...valueCounts(negative).values()];
    const signs = [counts.length === 1, Math.min(...counts) > 1, !between(fastest, slowest)];
    return signs.filter(Boolean).length >= 2;
  };
  const refuseSigned = ({ rt, response }, name, given) => {
    const known = rt.map((_, i) => i).filter((i) => there(rt[i]) && there(response[i]));
    const negative = known.filter((i) => rt[i] < 0);
    if (!negative.length) return;
    if (isMarker(rt)) return;
    const share = negative.length / known.length;
    if (known.every((i) => (rt[i] < 0) === (response[i] === 0)) || share > MOST_NEGATIVE) {
      throw question((say) => `rt: ${(100 * share).toFixed(0)}% of the times are negative, as if ` +
        "their sign were the response (HDDM's flip_errors). If so, say " +
        `${say({ columns: { ...given, response: name } })}; if the sign means something else, take ` +
        "it away in the file.");
    }
  };

  const bySubject = (subjects, values, keep) => {
    const groups = new Map();
    subjects.forEach((id, i) => {
      if (id === null || !keep(i)) return;
      if (!groups.has(id)) groups.set(id, []);
      groups.get(id).push(values(i));
    });
    return groups;
  };
  const seconds = ({ subject, rt }, unit) => {
    const usable = rt.filter((t) => Number.isFinite(t) && t > 0);
    if (!usable.length) {
      refuse(`rt: none of ${rt.length} times is positive; is it the right column?`);
    }
    const factor = UNITS[unit ?? "s"];
    const most = unit ? TOO_LONG : LONG;
    const middle = median(usable);
    if (!(middle * factor >= SHORT && middle * factor <= most)) throw unitQuestion(middle, unit);
    const medians = [...bySubject(subject, (i) => rt[i], (i) => Number.isFinite(rt[i]) && rt[i] > 0)]
      .map(([id, own]) => ({ id, middle: median(own) * factor, n: own.length }));
    const odd = medians.filter((m) => m.middle > most || (m.middle < SHORT && m.n >= FEW));
    if (odd.length) {
      const believed = !unit && Math.max(...medians.map((m) => m.middle)) <= TOO_LONG;
      throw question((say) => `rt: the median time is ${general(middle * factor, 3)} s, but outside ` +
        `${general(SHORT, 6)} to ${general(most, 6)} s for the subjects ${some(odd.map((m) => m.id))}. ` +
        "Are these milliseconds, or the others? Mend the file" +
        (believed ? `, or say ${say({ unit: "s" })} if all are seconds.` : "."));
    }
    return rt.map((t) => t * factor);
  };
  const unitQuestion = (middle, unit) => question((say) => {
    const likely = Object.keys(UNITS)
      .filter((u) => SHORT <= middle * UNITS[u] && middle * UNITS[u] <= LONG);
    let text = `rt: the median time is ${general(middle, 4)}`;
    if (unit) text += `, in ${unit} that is ${general(middle * UNITS[unit], 4)} s`;
    if (!likely.length) {
      return `${text}, which is no response time in any of ['s', 'ms', 'us']; the right column?`;
    }
    text += `. These look like ${UNIT_NAMES[likely[0]]}: say ${say({ unit: likely[0] })}`;
    if (!unit && middle <= TOO_LONG) text += `, or ${say({ unit: "s" })} if they are seconds`;
    return `${text}.`;
  });

  /** A remark on times so far above the others that they may stand for something else. */
  const far = (times, unit, missing) => {
    const counts = new Map([...valueCounts(times)].sort((a, b) => a[0] - b[0]));
    const values = [...counts.keys()];
    const limit = 5 * median(times);
    const nines = new Set([99, 999, 9999, 99999, 999999, 9999999, 99999999]);
    const round = values.map((v) =>
      v > limit && v % 1 === 0 && (counts.get(v) > 1 || nines.has(v)));
    const rest = Math.max(...values.filter((_, i) => !round[i]));
    const odd = values.filter((v, i) =>
      (round[i] && v > 2 * rest) || (v > limit && v * UNITS[unit] > LONG));
    if (!odd.length) {
      const [longest, n, before] = [values.at(-1), counts.get(values.at(-1)), counts.get(values.at(-2))];
      if (values.length <= 2 * FEW || n < Math.max(FEW, 3 * before)) return [];
      const answer = { missing: [...missing, longest] };
      return [{ text: `${n} times are exactly the longest (${plain(longest)}), as at a deadline; ` +
        `to leave out what is no response, say \`${written(answer)}\``, answer }];
    }
    const remedy = odd.length <= SHOWN ? { missing: [...missing, ...odd] } : { rt_range: [0, LONG] };
    const n = odd.reduce((sum, v) => sum + counts.get(v), 0);
    return [{ text: `${counted(n, "time")} far above the rest (${some(odd.map(plain))}); to leave out ` +
      `what is no response time, say \`${written(remedy)}\``, answer: remedy }];
  };

  // ---------------------------------------------------------------- what is left out, and what stays

  const reasons = ({ subject, rt, response, codes }, { rt_range: range, min_trials: least }, column) => {
    const [low, high] = range ?? [0, Infinity];
    const outside = `response time outside ${general(low, 6)} to ${general(high, 6)} s`;
    const reason = rt.map((t, i) => {
      if (subject[i] === null) return "no subject";
      if (t !== t) return "no response time";
      if (!there(response[i])) return "no response";
      if (!Number.isFinite(t)) return "response time not finite";
      if (t <= 0) return "response time not positive";
      if (t < low || t > high) return outside;
      if (!codes) return "";
      return codes[i] === null ? "no condition" : codes[i] === Infinity ? OTHER : "";
    });
    const counts = new Map();
    subject.forEach((id, i) => {
      if (id !== null) counts.set(id, (counts.get(id) ?? 0) + (reason[i] === "" ? 1 : 0));
    });
    const few = [...counts.keys()].filter((id) => counts.get(id) < (least ?? 1));
    if (few.length && reason.includes("") && !least) {
      throw question((say) => `${counted(few.length, "subject")} without a usable trial: ` +
        `${some(few)}; say ${say({ min_trials: 1 })} (or more) to leave out subjects with fewer ` +
        "trials, and have it reported.");
    }
    const out = new Set(few);
    reason.forEach((why, i) => {
      if (!why && out.has(subject[i])) reason[i] = `subject with fewer than ${least} trials`;
    });
    const told = (some) => [...valueCounts(some)].map(([why, n]) => `'${why}': ${n}`).join(", ");
    if (!reason.includes("")) refuse(`no usable trials are left: {${told(reason)}}.`);
    const gone = (codes ? [-0.5, 0.5] : []).filter((code) =>
      !codes.some((c, i) => c === code && reason[i] === ""));
    if (gone.length) {
      refuse(`conditions: no usable trial is left of one of the two in ${quoted(column)}: ` +
        `{${told(reason.filter((_, i) => gone.includes(codes[i])))}}.`);
    }
    return reason;
  };
  const reportOf = (rows, reason, index) => ["", ...[...valueCounts(reason.filter(Boolean)).keys()]]
    .map((why) => {
      const part = reason.map((_, i) => i).filter((i) => reason[i] === why);
      return { reason: why || "kept", trials: part.length,
        subjects: new Set(part.map((i) => rows.subject[i]).filter(there)).size,
        where: why ? some(part.map((i) => index[i])) : "" };
    });

  const checked = ({ rt_range: range, min_trials: least, unit }) => {
    if (least !== undefined && !(Number.isInteger(least) && least >= 1)) {
      refuse(`min_trials must be a positive integer, got ${least}.`);
    }
    if (!range) return;
    const [low, high] = range;
    const shown = tuple(range);
    if (!(low >= 0 && low < high)) {
      refuse(`rt_range must be (shortest, longest) in seconds, got ${shown}.`);
    }
    if (low >= TOO_LONG || (high > TOO_LONG && high < Infinity)) {
      const factor = !unit || unit === "s" ? 1e-3 : UNITS[unit];
      const meant = [low, high].map((x) => Number((x * factor).toFixed(6)));
      throw Object.assign(new Error(`rt_range is in seconds, whatever the unit of the file, got ` +
        `${shown}; say \`rt_range=${tuple(meant, point)}\`?`), { answers: [{ rt_range: meant }] });
    }
  };

  /**
   * Read a study: {subjects, trials: [[choice, time, ...], ...], report, notes, source, options}.
   * A note is {text}, with an `answer` (options) where there is a remedy.
   */
  function* read(bytes, name, options = {}) {
    const { columns = {}, unit, coding, missing = [] } = options;
    const rules = { ...options, coding, missing };
    checked(options);
    const table = yield* tableOf(bytes, name, columns);
    const names = found(table, columns);
    const words = wordsFor(missing);
    const subject = subjectIds(table, names.subject, words);
    yield { share: 1 };
    const read = timesOf(names.rt, table.columns.get(names.rt), rules);
    const { times, responses } = names.response === names.rt ? unsigned(read.times) : {
      times: read.times, responses: responsesOf(names.response, table.columns.get(names.response), rules) };
    yield { share: 1 };
    const under = options.conditions ? conditionsOf(table, names, options.conditions, words) : null;
    const rows = { subject, rt: times, response: responses, codes: under?.codes };
    refuseSigned(rows, names.rt, columns);
    yield { share: 1 };
    rows.rt = seconds(rows, unit);
    yield { share: 1 };
    const reason = reasons(rows, options, under?.column);
    yield { share: 1 };
    const notes = [...table.remarks, ...(under?.merged ?? [])].map((text) => ({ text }));
    notes.push(...((yield* repeatedIds(table, subject, names, columns)) ?? []).map((text) => ({ text })));
    notes.push(...far(times.filter((_, i) => !reason[i]), unit ?? "s", missing));
    notes.push(...unlikeAccuracy(table, rows, names, columns, (i) => !reason[i]));
    notes.push(...atHalf(table, rows, names, columns, (i) => !reason[i]));
    yield { share: 1 };
    const people = bySubject(subject, (i) => [rows.response[i], Math.fround(rows.rt[i])],
      (i) => !reason[i]);
    if (under) notes.push(...unlikeConditions(under, subject, (i) => !reason[i]));
    const codes = under && bySubject(subject, (i) => under.codes[i], (i) => !reason[i]);
    const kept = responses.filter((_, i) => !reason[i]);
    if (new Set(kept).size === 1) {
      notes.push({ text: "all responses are the same; check the coding of the column" });
    }
    const share = 1 - kept.length / reason.filter((why) => why !== OTHER).length;
    if (share > MUCH_DROPPED) {
      notes.push({ text: `${(100 * share).toFixed(0)}% of the trials were dropped; were these missing ` +
        "at random?" });
    }
    const who = names.subject.join(" + ") || "one subject";
    const source = `${table.source}; ${who}, ${names.rt} (${unit ?? "s"}${read.how}), ${names.response}` +
      (under ? `, ${under.column} (${under.labels.map((v, i) => `${quoted(v)} ${"-+"[i]}1/2`).join(", ")})` : "");
    return { subjects: [...people.keys()], trials: [...people.values()].map((own) => own.flat()),
      codes: codes && [...codes.values()], labels: under?.labels ?? null,
      report: reportOf(rows, reason, table.index), notes, source, options, name,
      names: table.names };
  }

  eam.reading = { read, refuseLarge, written, literal, general, plain, question, quantile, median, ELSE,
    YOURS };
})();
