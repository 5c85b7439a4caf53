// A waveform that grows while the speech comes.

/** Samples of one peak. */
const STEP = 240;

export class Wave {
  #canvas;
  #peaks = [];
  #open = [0, 0, 0];
  #position = 0;
  #due = false;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  add(samples) {
    for (const sample of samples) {
      const [low, high, count] = this.#open;
      this.#open = [Math.min(low, sample), Math.max(high, sample), count + 1];
      if (this.#open[2] === STEP) {
        this.#peaks.push(this.#open);
        this.#open = [0, 0, 0];
      }
    }
    this.#draw();
  }

  /** How much of it was heard, 0 to 1. */
  set position(part) {
    this.#position = part;
    this.#draw();
  }

  #draw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#paint();
    });
  }

  #paint() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.#canvas.clientWidth * ratio, this.#canvas.clientHeight * ratio];
    if (!width) return;
    Object.assign(this.#canvas, { width, height });
    const pen = this.#canvas.getContext('2d');
    pen.fillStyle = getComputedStyle(this.#canvas).color;
    const peaks = this.#peaks;
    // A short beginning does not fill the width: one pixel for a peak at most.
    const shown = Math.max(peaks.length, width / ratio);
    for (let x = 0; x < width; x += 1) {
      const from = Math.floor((x / width) * shown);
      const some = peaks.slice(from, Math.max(from + 1, Math.floor(((x + 1) / width) * shown)));
      if (!some.length) break;
      const low = Math.min(...some.map((peak) => peak[0]));
      const high = Math.max(...some.map((peak) => peak[1]));
      pen.globalAlpha = from / peaks.length < this.#position ? 1 : 0.5;
      pen.fillRect(x, ((1 - high) * height) / 2, 1, Math.max(ratio, ((high - low) * height) / 2));
    }
  }
}
