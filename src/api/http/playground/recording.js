// A recording: made with the microphone, as WAV (what browsers record themselves is not decodable everywhere), or a file.

import { Failure } from './api.js';
import { say, t, translate } from './text.js';
import { wav } from './wav.js';

/** Longest recording of a voice, seconds: what the server takes. */
const MOST = 30;

/** Starts the microphone; gives a function that stops it and gives the pieces heard and their rate. */
async function microphone(heard) {
  const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
  const context = new AudioContext();
  await context.audioWorklet.addModule(new URL('capture.js', import.meta.url));
  const node = new AudioWorkletNode(context, 'capture');
  const pieces = [];
  node.port.onmessage = ({ data }) => {
    pieces.push(data);
    heard(data, context.sampleRate);
  };
  // It writes nothing to its output; connected, it is run by every browser.
  context.createMediaStreamSource(stream).connect(node).connect(context.destination);
  return () => {
    for (const track of stream.getTracks()) track.stop();
    context.close();
    return { pieces, rate: context.sampleRate };
  };
}

export class Recording {
  #file;
  #stop;
  #parts;
  #legend;

  /** Builds itself inside an element that names its legend. */
  constructor(element) {
    element.append(document.getElementById('recording-template').content.cloneNode(true));
    translate(element);
    const part = (selector) => element.querySelector(selector);
    this.#parts = {
      button: part('.record'), input: part('input'), meter: part('meter'), status: part('.status'), audio: part('audio'),
    };
    this.#legend = element.dataset.legend;
    say(part('legend'), this.#legend);
    this.#parts.button.addEventListener('click', () => (this.#stop ? this.#end() : this.#begin()));
    this.#parts.input.addEventListener('change', () => this.#choose());
  }

  /** The recording ({ blob, name }), or a failure that says there is none. */
  get() {
    if (this.#stop) this.#end();
    if (!this.#file) throw new Failure('noRecording', { what: { t: this.#legend } });
    return this.#file;
  }

  #choose() {
    const [file] = this.#parts.input.files;
    if (!file) return;
    this.#take(file, file.name);
    say(this.#parts.status, 'chosen', { name: file.name });
  }

  #take(blob, name) {
    const { audio } = this.#parts;
    this.#file = { blob, name };
    if (audio.src) URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(blob);
    audio.hidden = false;
    audio.setAttribute('aria-label', t(this.#legend));
  }

  async #begin() {
    const { button, meter, status } = this.#parts;
    if (!navigator.mediaDevices?.getUserMedia) {
      say(status, 'noMicrophone');
      return;
    }
    let seconds = 0;
    let told = -1;
    button.disabled = true;
    try {
      this.#stop = await microphone((samples, rate) => {
        seconds += samples.length / rate;
        meter.value = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
        // Said once a second: a screen reader reads every change.
        if (Math.floor(seconds) > told) {
          told = Math.floor(seconds);
          say(status, 'recording', { n: told, most: MOST });
        }
        if (seconds >= MOST) this.#end();
      });
      button.classList.add('recording-now');
      say(button, 'recordStop');
      meter.hidden = false;
    } catch (error) {
      say(status, 'microphoneRefused', { why: error.message });
    } finally {
      button.disabled = false;
    }
  }

  #end() {
    if (!this.#stop) return;
    const { button, input, meter, status } = this.#parts;
    const { pieces, rate } = this.#stop();
    this.#stop = undefined;
    button.classList.remove('recording-now');
    say(button, 'record');
    meter.hidden = true;
    input.value = '';
    const seconds = pieces.reduce((sum, piece) => sum + piece.length, 0) / rate;
    this.#take(wav(pieces, rate), 'recording.wav');
    say(status, 'recorded', { n: seconds.toFixed(1) });
  }
}
