// needs: core reading
/* What a laptop tells the class: a Gaussian that stands for its group's posterior, as a short text.
 *
 * d means and d (d + 1) / 2 precisions, in prior z-scores and in natural parameters, in which groups
 * add up: Lambda = sum (Lambda_g - I) + I and Lambda m = sum Lambda_g m_g. The text has the number of
 * people, the model's fingerprint, three bytes for each number, and a check sum.
 */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const MARK = "eam1";
  const BYTES = 3;  // sign, exponent and 15 bits: 3e-5 of a number

  /** {count, precision (d x d), pull (d)} of draws z (S x d), row by row. */
  const answer = (z, d, count) => {
    const n = z.length / d;
    const mean = Array.from({ length: d }, (_, k) => {
      let sum = 0;
      for (let s = 0; s < n; s++) sum += z[s * d + k];
      return sum / n;
    });
    const covariance = new Float64Array(d * d);
    for (let s = 0; s < n; s++) {
      for (let i = 0; i < d; i++) {
        for (let j = 0; j < d; j++) {
          covariance[i * d + j] += ((z[s * d + i] - mean[i]) * (z[s * d + j] - mean[j])) / (n - 1);
        }
      }
    }
    // The inverse of a covariance of few draws is too large by this factor.
    const precision = inverse(covariance, d).map((v) => (v * (n - d - 2)) / (n - 1));
    return { count, precision, pull: times(precision, mean) };
  };
  const times = (matrix, vector) => vector.map((_, i) =>
    vector.reduce((sum, v, j) => sum + matrix[i * vector.length + j] * v, 0));
  /** Inverse of a symmetric, positive definite matrix (Gauss and Jordan). */
  const inverse = (matrix, d) => {
    const a = Float64Array.from(matrix);
    const b = Float64Array.from({ length: d * d }, (_, i) => (i % (d + 1) === 0 ? 1 : 0));
    for (let k = 0; k < d; k++) {
      const pivot = a[k * d + k];
      if (!(pivot > 0)) throw new Error("these answers do not add up to a posterior.");
      for (let j = 0; j < d; j++) { a[k * d + j] /= pivot; b[k * d + j] /= pivot; }
      for (let i = 0; i < d; i++) {
        const factor = i === k ? 0 : a[i * d + k];
        if (!factor) continue;
        for (let j = 0; j < d; j++) {
          a[i * d + j] -= factor * a[k * d + j];
          b[i * d + j] -= factor * b[k * d + j];
        }
      }
    }
    return b;
  };

  /** The class's posterior, {mean, sd, count} in prior z-scores. */
  const total = (answers, d) => {
    const precision = Float64Array.from({ length: d * d }, (_, i) => (i % (d + 1) === 0 ? 1 : 0));
    const pull = new Array(d).fill(0);
    let count = 0;
    for (const one of answers) {
      for (let i = 0; i < d * d; i++) precision[i] += one.precision[i] - (i % (d + 1) === 0 ? 1 : 0);
      for (let i = 0; i < d; i++) pull[i] += one.pull[i];
      count += one.count;
    }
    const covariance = inverse(precision, d);
    return { mean: times(covariance, pull), count,
      sd: pull.map((_, k) => Math.sqrt(covariance[k * (d + 1)])) };
  };

  const checkSum = (text) => {
    let crc = -1;
    for (let i = 0; i < text.length; i++) {
      crc ^= text.charCodeAt(i);
      for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ((crc ^ -1) >>> 0).toString(36).padStart(7, "0");
  };
  const toText = ({ count, precision, pull }, fingerprint) => {
    const d = pull.length;
    const numbers = [...pull];
    for (let i = 0; i < d; i++) for (let j = 0; j <= i; j++) numbers.push(precision[i * d + j]);
    const view = new DataView(new ArrayBuffer(4));
    const bytes = numbers.flatMap((x) => {
      view.setUint32(0, 0);
      view.setFloat32(0, x);
      view.setUint32(0, Math.min(view.getUint32(0) + 0x80, 0xffffff00));  // round the fourth away
      return Array.from({ length: BYTES }, (_, i) => view.getUint8(i));
    });
    const code = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
    const text = [MARK, fingerprint, count, code].join(".");
    return `${text}.${checkSum(text)}`;
  };
  /** Read a text, or throw an Error that says in a sentence what is wrong with it. */
  const fromText = (given, { fingerprint, dim, label }) => {
    const text = given.replace(/\s+/g, "");
    const refuse = (why) => { throw new Error(why); };
    if (!text.startsWith(`${MARK}.`)) {
      refuse(`this is no answer of a group: such a text begins with "${MARK}."`);
    }
    const [, model, count, code] = text.split(".");
    const end = text.lastIndexOf(".");
    if (text.split(".").length !== 5 || checkSum(text.slice(0, end)) !== text.slice(end + 1)) {
      refuse("this answer is cut off or has a letter wrong: copy the whole text again.");
    }
    if (model !== fingerprint) {
      refuse(`this answer is of another model (${model}); here is ${label} (${fingerprint}).`);
    }
    const letters = atob(code.replaceAll("-", "+").replaceAll("_", "/"));
    const size = dim + (dim * (dim + 1)) / 2;
    if (letters.length !== BYTES * size) refuse(`this answer has not the ${size} numbers it needs.`);
    const view = new DataView(new ArrayBuffer(4));
    const numbers = Array.from({ length: size }, (_, k) => {
      for (let i = 0; i < BYTES; i++) view.setUint8(i, letters.charCodeAt(BYTES * k + i));
      return view.getFloat32(0);
    });
    if (!numbers.every(Number.isFinite)) refuse("this answer has numbers that are not finite.");
    const precision = new Float64Array(dim * dim);
    for (let i = 0, next = dim; i < dim; i++) {
      for (let j = 0; j <= i; j++) precision[i * dim + j] = precision[j * dim + i] = numbers[next++];
    }
    return { count: Number(count), precision, pull: numbers.slice(0, dim), text };
  };

  eam.answers = { answer, total, toText, fromText };
})();
