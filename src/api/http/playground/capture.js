// Runs in the audio thread: hands what the microphone hears to the page, a few thousand samples at a time.
registerProcessor('capture', class extends AudioWorkletProcessor {
  #heard = [];
  #count = 0;

  process([[channel]]) {
    if (channel) {
      this.#heard.push(channel.slice());
      this.#count += channel.length;
    }
    if (this.#count >= 2048) {
      const all = new Float32Array(this.#count);
      let at = 0;
      for (const piece of this.#heard) {
        all.set(piece, at);
        at += piece.length;
      }
      this.port.postMessage(all, [all.buffer]);
      [this.#heard, this.#count] = [[], 0];
    }
    return true;
  }
});
