/** A WAV file of mono samples in [-1, 1], given in pieces. */
export function wav(pieces, rate) {
  const count = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const tag = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  const numbers = [[4, 36 + 2 * count], [16, 16], [24, rate], [28, 2 * rate], [40, 2 * count]];
  tag(0, 'RIFF');
  tag(8, 'WAVEfmt ');
  tag(36, 'data');
  for (const [at, value] of numbers) view.setUint32(at, value, true);
  // PCM, one channel, 2 bytes a frame, 16 bits
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) view.setUint16(at, value, true);
  let at = 44;
  for (const piece of pieces) {
    for (const sample of piece) {
      view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true);
      at += 2;
    }
  }
  return new Blob([view], { type: 'audio/wav' });
}
