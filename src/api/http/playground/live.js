// Text that is spoken while it is written, over /ws/tts.

import { Failure, socket } from './api.js';
import { decoded } from './player.js';

/** How fast a language model writes here, characters a second. */
const PACE = 20;

/** Ends when `signal` is aborted, with its reason, or when `promise` does. */
function unless(signal, promise) {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
    promise.then(resolve, reject);
  });
}

/** Speaks what a field holds and what is written into it, until `end` is called; or all it holds, as if it were written
 * now. What was sent is spoken: only what comes behind it counts. */
export class Live {
  #socket;
  #field;
  #sent = '';

  constructor(field) {
    this.#field = field;
  }

  /** Opens the connection, speaks with `options`, and hands what comes to `result`. */
  async speak(options, { paced, result, player, began, signal }) {
    this.#sent = '';
    this.#socket = socket('ws/tts');
    const ended = this.#hear(result, player, began);
    const typed = () => this.#type();
    try {
      await unless(signal, Promise.race([ended, new Promise((open) => { this.#socket.onopen = open; })]));
      this.#say({ type: 'start', format: 'pcm', ...options });
      if (paced) {
        await unless(signal, Promise.race([ended, this.#write(signal)]));
      } else {
        this.#field.addEventListener('input', typed);
        this.#type();
      }
      await unless(signal, ended);
    } finally {
      this.#field.removeEventListener('input', typed);
      result.finish();
      // Closing stops the synthesis, as a cancel does.
      this.#socket.close();
      this.#socket = undefined;
    }
  }

  /** No more text. */
  end() {
    this.#say({ type: 'end' });
  }

  #say(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #type() {
    const text = this.#field.value;
    // What was sent cannot be taken back; a change in it counts as nothing written.
    if (!text.startsWith(this.#sent) || text === this.#sent) return;
    this.#say({ type: 'text', text: text.slice(this.#sent.length) });
    this.#sent = text;
  }

  async #write(signal) {
    for (const character of this.#field.value) {
      this.#say({ type: 'text', text: character });
      await new Promise((wake) => setTimeout(wake, 1000 / PACE));
      if (signal.aborted) return;
    }
    this.end();
  }

  /** Done when the speech is, or fails. */
  #hear(result, player, began) {
    const start = performance.now();
    const opened = this.#socket;
    return new Promise((done, failed) => {
      opened.onmessage = ({ data }) => {
        if (typeof data !== 'string') {
          result.add(decoded(data));
          return;
        }
        const message = JSON.parse(data);
        const { type, status, detail } = message;
        if (type === 'started') result.open({ rate: message.sample_rate, seed: message.seed, start, player, began });
        if (type === 'done') done();
        if (type === 'error') failed(new Failure('refused', { status, detail }));
      };
      opened.onclose = () => failed(new Failure(result.seconds ? 'brokeOff' : 'unreachable'));
    });
  }
}
