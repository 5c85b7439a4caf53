// Calls every mode through the generated client and leaves what it heard in a directory:
//     node every_mode.js http://127.0.0.1:5000 words.json recording.wav DIRECTORY
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import {
  cloneVoice,
  convertSpeech,
  createSpeech,
  greet,
  health,
  inferenceCrossLingual,
  inferenceInstruct,
  inferenceInstruct2,
  inferenceSft,
  inferenceZeroShot,
  listModels,
  listSpeakers,
  ready,
  removeVoice,
  renameVoice,
  speak,
  speakCrossLingual,
  speakInstruct,
  speakPcm,
  speakZeroShot,
  uploadAudio,
} from "./cosyserve";
import { client } from "./cosyserve/client.gen";

interface Words {
  mandarin: string;
  mandarinToo: string;
  english: string;
  instruction: string;
  seed: number;
  woman: string;
  englishMan: string;
  clone: string;
}

interface Answer {
  data?: unknown;
  error?: unknown;
  response?: Response;
}

function expect(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

/** The audio of an answer, which must have succeeded. */
async function audio(answer: Promise<Answer>): Promise<Blob> {
  const { data, error, response } = await answer;
  expect(response?.status === 200, `${response?.url} answered ${response?.status}: ${JSON.stringify(error)}`);
  expect(data instanceof Blob, `${response.url} gave no bytes`);
  return data;
}

async function main(base: string, wordsFile: string, recordingFile: string, directory: string): Promise<void> {
  const words = JSON.parse(readFileSync(wordsFile, "utf8")) as Words;
  const recording = readFileSync(recordingFile);
  const file = new File([recording], "me.wav", { type: "audio/wav" });
  client.setConfig({ baseUrl: base });
  const { seed, woman, mandarin, mandarinToo } = words;
  const keep = async (name: string, answer: Promise<Answer>) => {
    writeFileSync(join(directory, name), Buffer.from(await (await audio(answer)).arrayBuffer()));
  };

  const sft = { tts_text: mandarin, spk_id: woman, seed };
  await keep("speak.mp3", speak({ body: sft }));
  const pcm = await speakPcm({ body: sft, parseAs: "blob" });
  expect(pcm.response?.headers.get("x-sample-rate") === "24000", "the rate is named");
  await keep("speak_pcm.pcm", Promise.resolve(pcm));

  const zeroShot = { tts_text: mandarinToo, prompt_text: mandarin, seed };
  const encoded = recording.toString("base64");
  const crossLingual = { tts_text: words.english, seed };
  const instruction = { instruct_text: words.instruction };
  await keep("zero_shot.mp3", speakZeroShot({ body: { ...zeroShot, prompt_audio_base64: encoded } }));
  await keep("cross_lingual.mp3", speakCrossLingual({ body: { ...crossLingual, prompt_audio_base64: encoded } }));
  await keep("instruct.mp3", speakInstruct({ body: { ...sft, ...instruction } }));
  const source = { source_audio_base64: encoded, spk_id: words.englishMan, seed };
  await keep("convert.mp3", convertSpeech({ body: source }));

  // The basic API: forms, with files.
  const bytes = { parseAs: "blob" } as const;
  await keep("sft.pcm", inferenceSft({ body: sft, ...bytes }));
  await keep("zero_shot.pcm", inferenceZeroShot({ body: { ...zeroShot, prompt_wav: file }, ...bytes }));
  await keep("cross_lingual.pcm", inferenceCrossLingual({ body: { ...crossLingual, prompt_wav: file }, ...bytes }));
  await keep("instruct.pcm", inferenceInstruct({ body: { ...sft, ...instruction }, ...bytes }));
  const instruct2 = { tts_text: mandarin, ...instruction, prompt_wav: file, seed };
  await keep("instruct2.pcm", inferenceInstruct2({ body: instruct2, ...bytes }));
  const openai = { model: "tts-1", input: mandarin, voice: woman, seed };
  await keep("openai.mp3", createSpeech({ body: openai }));

  // Streamed: the answer's own body, read as it comes.
  const streamed = await speak({ body: { ...sft, stream: true }, parseAs: "stream" });
  expect(streamed.data instanceof ReadableStream, "a stream can be read");
  const pieces: Uint8Array[] = [];
  for await (const piece of streamed.data as ReadableStream<Uint8Array>) pieces.push(piece);
  writeFileSync(join(directory, "streamed.mp3"), Buffer.concat(pieces));

  const cloned = await cloneVoice({ body: { spk_id: words.clone, prompt_text: mandarin, prompt_audio: file } });
  expect(cloned.data?.spk_id === words.clone, "the clone is named");
  const voices = await listSpeakers();
  expect(voices.data?.speakers.some((voice) => voice.spk_id === words.clone) === true, "the clone is listed");
  await keep("clone.mp3", speak({ body: { tts_text: mandarinToo, spk_id: words.clone, seed } }));

  const named = { path: { id: words.clone } };
  const renamed = await renameVoice({ ...named, body: { spk_name: "Renamed" } });
  expect(renamed.data?.spk_name === "Renamed", "a name can be changed");
  expect((await removeVoice(named)).response?.status === 200, "a voice can be removed");

  const uploaded = await uploadAudio({ body: { file } });
  expect(uploaded.data?.audio_base64 === encoded, "an upload comes back");
  expect(((await listModels()).data?.data.length ?? 0) > 0, "a model");
  expect(((await greet()).data?.message.length ?? 0) > 0, "a greeting");
  expect((await health()).data?.status === "ok", "healthy");
  expect((await ready()).data?.status === "ready", "ready");

  const refused = await speak({ body: { ...sft, tts_text: "" } });
  expect(refused.error?.detail.includes("tts_text") === true, "a refusal is typed and names the field");
}

const [base, wordsFile, recordingFile, directory] = process.argv.slice(2);
expect(base !== undefined && wordsFile !== undefined && recordingFile !== undefined && directory !== undefined, "usage");
main(base, wordsFile, recordingFile, directory).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
