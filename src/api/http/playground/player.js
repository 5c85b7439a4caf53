// Plays samples while they come: each piece is scheduled where the one before it ends.

/** Time between a piece's arrival and its sound when nothing is playing, seconds: absorbs the network's unevenness. */
const LEAD = 0.08;

let context;

/** An audio context of this rate. The first must be made while a click or a key is being handled. */
function contextOf(rate) {
  if (context?.sampleRate !== rate) {
    context?.close();
    context = new AudioContext({ sampleRate: rate, latencyHint: 'interactive' });
  }
  context.resume();
  return context;
}

/** The sound of one answer. */
export class Player {
  #context;
  #rate;
  #sources = new Set();
  #end = 0;
  #begin;

  /** `rate` is the one to expect, hertz. */
  constructor(rate) {
    this.#rate = rate;
    this.#context = contextOf(rate);
  }

  /** Plays these samples after what came before. */
  push(samples, rate) {
    if (rate !== this.#rate) {
      this.#rate = rate;
      this.#context = contextOf(rate);
    }
    const buffer = this.#context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(samples, 0);
    const source = this.#context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.#context.destination);
    const now = this.#context.currentTime;
    if (this.#end < now) this.#end = now + LEAD;
    this.#begin ??= this.#end;
    source.start(this.#end);
    this.#end += buffer.duration;
    this.#sources.add(source);
    source.onended = () => this.#sources.delete(source);
  }

  /** Seconds since the first sample was heard. */
  get position() {
    return this.#begin === undefined ? 0 : Math.max(0, this.#context.currentTime - this.#begin);
  }

  /** Whether anything is still to be heard. */
  get playing() {
    return this.#sources.size > 0;
  }

  /** Silence, now. */
  stop() {
    for (const source of this.#sources) source.stop();
    this.#sources.clear();
  }
}

/** The first samples of a buffer of little-endian 16-bit PCM. */
export function decoded(buffer, count = buffer.byteLength >> 1) {
  const view = new DataView(buffer);
  return Float32Array.from({ length: count }, (_, i) => view.getInt16(2 * i, true) / 32768);
}

/** The samples of a body of little-endian 16-bit PCM, as they come. */
export async function* samples(body) {
  const reader = body.getReader();
  let odd = new Uint8Array(0);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const bytes = new Uint8Array(odd.length + value.length);
      bytes.set(odd);
      bytes.set(value, odd.length);
      const count = bytes.length >> 1;
      odd = bytes.slice(2 * count);
      if (!count) continue;
      yield decoded(bytes.buffer, count);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
