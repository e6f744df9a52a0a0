/* The diffusion decision model: exact density (as in density.py) and stepped walks (simulate.py). */
(() => {
  "use strict";
  const eam = globalThis.eamlab;
  const SERIES_SWITCH = 0.25;
  const LOG_ROOT_2PI = 0.5 * Math.log(2 * Math.PI);

  /** Sum of (w + 2k) exp(-2k(k + w)/u), k = -3 ... 3; k = 0 and -1 without cancellation. */
  const images = (u, w, v) => {
    const e = Math.exp((-2 * v) / u);
    let sum = w * (1 - e) - 2 * v * e;
    for (const k of [1, 2, 3]) sum += (w + 2 * k) * Math.exp((-2 * k * (k + w)) / u);
    for (const k of [2, 3]) sum += (w - 2 * k) * Math.exp((-2 * k * (k - w)) / u);
    return sum;
  };

  /** Sum of k exp(-(k^2 - 1) pi^2 u / 2) sin(k pi w), k = 1 ... 6. */
  const sines = (u, w, v) => {
    const rate = 0.5 * Math.PI ** 2 * u;
    let sum = Math.sin(Math.PI * Math.min(w, v));
    for (let k = 2; k <= 6; k++) {
      sum += k * Math.exp(-(k * k - 1) * rate) * Math.sin(k * Math.PI * w);
    }
    return sum;
  };

  /** Log density of a driftless first passage at 0 on [0, 1] from w; v = 1 - w. */
  const logF0 = (u, w, v) => u < SERIES_SWITCH
    ? (-0.5 * w * w) / u - 1.5 * Math.log(u) - LOG_ROOT_2PI + Math.log(images(u, w, v))
    : Math.log(Math.PI * sines(u, w, v)) - 0.5 * Math.PI ** 2 * u;

  /** Log density of a response; a drift N(nu, sdNu^2) that differs between people is integrated. */
  const logDensity = (rt, choice, { nu, alpha, t0, beta }, sdNu = 0) => {
    const time = rt - t0;
    const u = time / (alpha * alpha);
    if (!(u > 1e-300)) return -Infinity;
    const w = choice === 1 ? 1 - beta : beta;
    const gain = choice === 1 ? alpha * w : -alpha * w;  // evidence gained on the way to the bound
    const spread = 1 + sdNu * sdNu * time;
    const tilt = (gain * gain * sdNu * sdNu + 2 * gain * nu - time * nu * nu) / (2 * spread);
    return tilt - 0.5 * Math.log(spread) - 2 * Math.log(alpha) + logF0(u, w, 1 - w);
  };

  /** Probability of the upper bound. */
  const probability = ({ nu, alpha, beta }) => {
    const y = 2 * nu * alpha;
    if (y === 0) return beta;
    const size = Math.abs(y);
    const ratio = Math.expm1(-size * beta) / Math.expm1(-size);
    return y > 0 ? ratio : Math.exp(-size * (1 - beta)) * ratio;
  };

  const meanTime = (subject) => {
    const { nu, alpha, t0, beta } = subject;
    if (Math.abs(nu * alpha) < 1e-5) return t0 + alpha * alpha * beta * (1 - beta);
    return t0 + (alpha * (probability(subject) - beta)) / nu;
  };

  /** Densities at `times`, {upper: [], lower: []}. */
  const densities = (times, subject, sdNu) => ({
    upper: times.map((t) => Math.exp(logDensity(t, 1, subject, sdNu))),
    lower: times.map((t) => Math.exp(logDensity(t, 0, subject, sdNu))),
  });

  /**
   * Stepped walks (Euler and Maruyama), in units in which a step needs no product. `walk(track)`
   * returns {n: steps, upper, late} and, if asked to, records the evidence in the array `track`.
   */
  const walker = ({ nu, alpha, beta }, { step, inward, maxTime, seed }) => {
    const normal = eam.normals(eam.random(seed).uniform);
    const noise = Math.sqrt(step);
    const half = (0.5 * alpha) / noise - inward;
    const most = Math.ceil(maxTime / step - 1e-9);
    return (track) => {
      let x = ((beta - 0.5) * alpha) / noise;
      let n = 0;
      track?.push(0.5 * alpha + x * noise);
      while (x >= -half && x <= half && n < most) {
        x += nu * noise + normal();
        n += 1;
        track?.push(0.5 * alpha + x * noise);
      }
      return { n, upper: x > 0, late: x >= -half && x <= half };
    };
  };

  eam.ddm = { logDensity, probability, meanTime, densities, walker };
})();
