// One answer: asks for it, plays it while it comes, and shows what there is to know of it.

import { Failure, curl, send } from './api.js';
import { Player, samples } from './player.js';
import { say, t, translate } from './text.js';
import { wav } from './wav.js';
import { Wave } from './wave.js';

export class Result {
  #parts;
  #wave;
  #pieces = [];
  #count = 0;
  #shown = 0;
  #stream = { rate: 1 };

  /** A new result with this title, the first of a list. */
  constructor(list, title, { last = false, live = false } = {}) {
    const fragment = document.getElementById('result-template').content.cloneNode(true);
    const article = fragment.firstElementChild;
    translate(article);
    const part = (selector) => article.querySelector(selector);
    this.#parts = {
      canvas: part('canvas'), first: part('.first'), total: part('.total'), length: part('.length'), pace: part('.pace'),
      seed: part('.seed'), after: part('.after'), audio: part('audio'), download: part('.download'), code: part('code'),
    };
    part('h2').textContent = title;
    part('details').hidden = live;
    this.#parts.audio.setAttribute('aria-label', title);
    this.#wave = new Wave(this.#parts.canvas);
    const { audio } = this.#parts;
    audio.addEventListener('timeupdate', () => {
      this.#wave.position = audio.currentTime / audio.duration || 0;
    });
    part('.copy').addEventListener('click', () => this.#copy(part('.copied')));
    this.#describe();
    if (last) list.append(article);
    else list.prepend(article);
  }

  /** Seconds that came. */
  get seconds() {
    return this.#count / this.#stream.rate;
  }

  /** Asks for speech and takes it in; `player` plays it. `began` is told the milliseconds to the first audio. */
  async fetch(request, { signal, player, began }) {
    const start = performance.now();
    this.#parts.code.textContent = curl(request);
    const response = await send(request, signal);
    const seed = response.headers.get('X-Seed');
    this.#parts.code.textContent = curl(request, Number(seed));
    this.open({ rate: Number(response.headers.get('X-Sample-Rate')), seed, start, player, began });
    try {
      for await (const piece of samples(response.body)) this.add(piece);
    } catch (error) {
      throw error.name === 'AbortError' ? error : new Failure('brokeOff');
    } finally {
      this.finish();
    }
  }

  /** Audio of this rate is to come; `start` is when it was asked for. */
  open(stream) {
    this.#stream = stream;
    this.#parts.seed.textContent = stream.seed;
  }

  /** The next audio. */
  add(piece) {
    const { start, rate, player, began } = this.#stream;
    if (!this.#count) {
      const n = Math.round(performance.now() - start);
      say(this.#parts.first, 'ms', { n });
      began?.(n);
    }
    player?.push(piece, rate);
    this.#pieces.push(piece);
    this.#count += piece.length;
    this.#wave.add(piece);
    if (player) this.#wave.position = player.position / this.seconds;
    if (this.seconds - this.#shown >= 0.5) this.#describe();
  }

  /** All of it has come, or no more will: makes a file of it. */
  finish() {
    this.#describe();
    if (!this.#count) return;
    const took = (performance.now() - this.#stream.start) / 1000;
    say(this.#parts.total, 's', { n: took.toFixed(2) });
    say(this.#parts.pace, 'times', { n: (this.seconds / took).toFixed(1) });
    const { audio, download, after } = this.#parts;
    const file = URL.createObjectURL(wav(this.#pieces, this.#stream.rate));
    this.#pieces = [];
    audio.src = file;
    Object.assign(download, { href: file, download: 'speech.wav' });
    after.hidden = false;
  }

  /** Shows how far a player is until it is through or told to stop. */
  async follow(player, signal) {
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    while (player.playing && !signal.aborted) {
      if (!still) this.#wave.position = player.position / this.seconds;
      await new Promise((wake) => setTimeout(wake, 50));
    }
    this.#wave.position = 0;
  }

  #describe() {
    const { canvas, length } = this.#parts;
    this.#shown = this.seconds;
    const n = this.seconds.toFixed(2);
    canvas.dataset.tLabel = 'wave';
    canvas.dataset.values = JSON.stringify({ n });
    canvas.setAttribute('aria-label', t('wave', { n }));
    if (this.#count) say(length, 's', { n });
  }

  async #copy(told) {
    say(told);
    try {
      await navigator.clipboard.writeText(this.#parts.code.textContent);
      say(told, 'copied');
    } catch {
      getSelection().selectAllChildren(this.#parts.code);
      say(told, 'notCopied');
    }
  }
}

/** The work of one panel: one task at a time, its stop button, its status and its errors. */
export class Task {
  #abort;
  #player;
  #parts;

  constructor(panel) {
    const part = (selector) => panel.querySelector(selector);
    this.#parts = { go: part('.main'), stop: part('.stop'), status: part(':scope > .status'), error: part('.error') };
    this.#parts.stop?.addEventListener('click', () => this.stop());
  }

  status(key, values) {
    say(this.#parts.status, key, values);
  }

  /** A player that stops with the task. Must be asked for before anything is waited for. */
  player(rate) {
    this.#player = new Player(rate);
    return this.#player;
  }

  stop() {
    this.#abort?.abort();
    this.#player?.stop();
  }

  /** Runs `work(signal)`; what fails is shown. */
  async run(work) {
    if (this.#abort) return;
    const { go, stop, error: shown } = this.#parts;
    this.#abort = new AbortController();
    const held = document.activeElement === go;
    go.disabled = true;
    if (stop) stop.disabled = false;
    say(shown);
    this.status();
    try {
      await work(this.#abort.signal);
    } catch (error) {
      this.#player?.stop();
      this.status(error.name === 'AbortError' ? 'stopped' : undefined);
      if (error instanceof Failure) say(shown, error.text, error.values);
      else if (error.name !== 'AbortError') say(shown, 'brokeOff');
    } finally {
      // Focus must not be lost with the button that had it, nor taken from where it is.
      const { activeElement, body } = document;
      const lost = activeElement === stop || (held && activeElement === body);
      this.#abort = undefined;
      go.disabled = false;
      if (lost) go.focus({ preventScroll: true });
      if (stop) stop.disabled = true;
    }
  }
}
