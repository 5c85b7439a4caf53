//! Every bound of the server in one place, with its unit. Nothing in the crate grows without one of these.

use std::time::Duration;

/// Characters of `tts_text` in one request.
pub const TTS_TEXT_CHARS: usize = 10_000;
/// Characters of `prompt_text` or `instruct_text`.
pub const PROMPT_TEXT_CHARS: usize = 1_000;
/// Characters of a voice id or voice name.
pub const VOICE_ID_CHARS: usize = 64;
/// Saved voices; one more is refused.
pub const SAVED_VOICES: usize = 10_000;
/// Bytes of a file of voices (`spk2info.pt`), and of what it unpacks to.
pub const IMPORT_BYTES: usize = 64 << 20;
/// Voices in one such file.
pub const IMPORT_VOICES: usize = 1_000;
/// Files of voices read at once: each may take three times its size.
pub const IMPORTS_AT_ONCE: usize = 1;
/// Entries of its archive.
pub const ARCHIVE_ENTRIES: usize = 32_768;
/// Bytes of its pickle, which holds names and shapes only.
pub const PICKLE_BYTES: usize = 8 << 20;
/// Values in its pickle; a voice has about 200.
pub const PICKLE_VALUES: usize = 1 << 19;
/// Elements of one of its tensors: the mel of 30 s has 120,000.
pub const TENSOR_ELEMENTS: u64 = 1 << 20;
/// Characters of a voice preview's text.
pub const PREVIEW_TEXT_CHARS: usize = 200;
/// Bytes of finished previews kept for whoever asks again.
pub const PREVIEW_CACHE_BYTES: usize = 16 << 20;
/// How many of them.
pub const PREVIEW_CACHE_ENTRIES: usize = 512;
/// Bytes of a JSON request body (a base64 prompt of 30 s at 48 kHz stereo is 7.7 MB).
pub const JSON_BODY_BYTES: usize = 24 << 20;
/// Bytes of a multipart request body.
pub const MULTIPART_BODY_BYTES: usize = 64 << 20;
/// Bytes of an urlencoded request body: the longest text of four-byte characters is 120 kB there.
pub const URLENCODED_BODY_BYTES: usize = 1 << 20;
/// Text fields of one form.
pub const FORM_FIELDS: usize = 64;
/// Bytes of one text field of a form.
pub const FORM_FIELD_BYTES: usize = 64 << 10;
/// Bytes of an encoded prompt audio file.
pub const PROMPT_FILE_BYTES: usize = 32 << 20;
/// Shortest prompt audio after trimming, seconds.
pub const PROMPT_MIN_SECONDS: f32 = 0.5;
/// Longest prompt audio after trimming, seconds (the speech tokenizer's limit).
pub const PROMPT_MAX_SECONDS: f32 = 30.0;
/// Longest recording that is converted to another voice, seconds: as long as files may be. It is spoken in pieces of at
/// most [`PROMPT_MAX_SECONDS`].
pub const SOURCE_MAX_SECONDS: f32 = DECODED_MAX_SECONDS;
/// Longest decoded audio file before trimming, seconds: bounds memory while decoding.
pub const DECODED_MAX_SECONDS: f32 = 300.0;
/// Most samples of a decoded audio file (300 s at 48 kHz, 37 s at the highest rate): bounds memory while decoding.
pub const DECODED_MAX_SAMPLES: usize = 14_400_000;
/// Lowest sample rate accepted in prompt audio, hertz.
pub const PROMPT_MIN_RATE: u32 = 8_000;
/// Highest sample rate accepted in prompt audio, hertz.
pub const PROMPT_MAX_RATE: u32 = 384_000;
/// Channels accepted in prompt audio.
pub const PROMPT_MAX_CHANNELS: usize = 32;
/// Lowest `speed`.
pub const SPEED_MIN: f32 = 0.5;
/// Highest `speed`.
pub const SPEED_MAX: f32 = 2.0;
/// Segments one text may be split into.
pub const TEXT_SEGMENTS: usize = 500;
/// Text tokens of a prompt's transcript or of an instruction.
pub const PROMPT_TEXT_TOKENS: usize = 640;
/// Built-in voices whose prompts are read before the server is ready.
pub const WARM_VOICES: usize = 16;
/// Seconds of speech of one segment. Segments are about 60 text tokens, 20 s; what exceeds this has run away, and the
/// flow's cost grows with the square of a segment's length.
pub const SEGMENT_SPEECH_SECONDS: usize = 60;
/// Text tokens of one segment, prompt text included.
pub const SEGMENT_TEXT_TOKENS: usize = 1_024;
/// Characters of one piece of a text that streams in.
pub const LIVE_PIECE_CHARS: usize = TTS_TEXT_CHARS;
/// Pieces of it that may wait; one more waits with its sender.
pub const LIVE_PIECES: usize = 64;
/// Segments of it that may wait to be spoken; then no more of it is read.
pub const LIVE_SEGMENTS_AHEAD: usize = 4;
/// Longest time in which no piece of it comes.
pub const LIVE_IDLE: Duration = Duration::from_secs(60);
/// Time from its beginning to its end.
pub const LIVE_SESSION: Duration = Duration::from_secs(3600);
/// Bytes of it that a protocol reads ahead of the engine, so that a cancel behind them is heard while they wait; then no
/// more is read.
pub const LIVE_TEXT_AHEAD_BYTES: usize = 256 << 10;
/// What each piece counts there beside its own bytes.
pub const LIVE_PIECE_BYTES: usize = 64;
/// Bytes of audio in one message of a live session (100 ms of PCM at 24 kHz): a cancel waits for one at most.
pub const LIVE_AUDIO_BYTES: usize = 4_800;
/// Least `ahead`, seconds of audio sent before they are played.
pub const LIVE_AHEAD_MIN: f64 = 0.1;
/// Greatest `ahead`.
pub const LIVE_AHEAD_MAX: f64 = 60.0;
/// WebSocket connections open at once, beside [`CONNECTIONS`]; one more is told to come back.
pub const WS_CONNECTIONS: usize = 512;
/// Bytes of one WebSocket message. The largest carry a recording in base64: 30 s at 24 kHz are 1.9 MB as WAV. 1 GiB if all
/// connections send one at once.
pub const WS_MESSAGE_BYTES: usize = 2 << 20;
/// Answers to a WebSocket client's messages that wait to be sent; then no more messages are read.
pub const WS_REPLIES: usize = 16;
/// Time between two pings to a WebSocket client.
pub const WS_PING: Duration = Duration::from_secs(20);
/// Longest time without a sign of life, not even a pong, while nothing is being spoken.
pub const WS_SILENCE: Duration = Duration::from_secs(60);
/// Longest time between two utterances in which a client sends no message.
pub const WS_IDLE: Duration = Duration::from_secs(600);
/// Time after which a WebSocket connection is closed when nothing is being spoken.
pub const WS_SESSION: Duration = Duration::from_secs(24 * 3600);
/// Time a WebSocket client may take to answer a close.
pub const WS_CLOSING: Duration = Duration::from_secs(5);
/// Audio chunks made but not yet sent, per request: a slow reader stops its own synthesis here.
pub const CHUNKS_IN_FLIGHT: usize = 4;
/// A stream that has not begun waits so long for one that is about to run dry: a pause in what is heard is worse than a
/// later beginning.
pub const FIRST_AUDIO_PATIENCE: Duration = Duration::from_millis(250);
/// Head start of streams over a whole answer: nobody listens to it before it is complete, so streams go first until it
/// is this old (and then whenever it is made slower than it plays).
pub const WHOLE_ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Syntheses at work at once on a CPU, unless the command line says otherwise.
pub const CONCURRENCY_CPU: usize = 4;
/// Syntheses at work at once on each GPU at most, unless the command line says otherwise.
pub const CONCURRENCY_GPU: usize = 32;
/// Bytes of a GPU's memory that a 0.5B model takes however many requests there are.
pub const GPU_BYTES_FIXED: u64 = 9 << 30;
/// Bytes that it takes for each request at work: its language model's slot, its rows of captured shapes.
pub const GPU_BYTES_PER_SLOT: u64 = 850 << 20;
/// Utterances the vocoder runs at once on a GPU.
pub const VOCODER_BATCH: usize = 16;
/// Likewise generation 3's: more take as long each, and cuDNN's plan for 16 of 30 frames takes 70 GB.
pub const VOCODER_BATCH_CAUSAL: usize = 8;
/// Mel frames of all of them together: bounds the memory of a batch.
pub const VOCODER_BATCH_FRAMES: usize = 4_096;
/// New mel frames of a streamed vocoder run on CUDA, where every other width costs a new plan: a chunk's.
pub const VOCODER_NEW_FRAMES: usize = 50;
/// Mel frames of the first one, ascending: the shortest first chunk, one between, a whole chunk (the stretch holds one
/// frame back). Generation 3's look-ahead is among them.
pub const VOCODER_FIRST_FRAMES: [usize; 3] = [20, 34, 49];
/// Rows of batched vocoder runs on CUDA, ascending; the last is `VOCODER_BATCH`.
pub const VOCODER_ROWS: [usize; 5] = [1, 2, 4, VOCODER_BATCH_CAUSAL, VOCODER_BATCH];
/// Draws before the first number of a bundle's fixed source noise: a second's work when the bundle is loaded.
pub const SOURCE_NOISE_SKIP: u64 = 1 << 28;
/// Requests that may wait for a lane when the command line does not say otherwise.
pub const QUEUE_LENGTH: usize = 64;
/// Time one request may take, from its arrival to its last sample, unless the command line says otherwise.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(300);
/// Seconds named in `Retry-After` when the server is full.
pub const RETRY_AFTER_SECONDS: u32 = 2;
/// Requests that a paced `bench` keeps open; more are counted as failed.
pub const BENCH_OPEN_REQUESTS: usize = 1024;
/// Time `bench` waits for one answer of a server.
pub const BENCH_PATIENCE: Duration = Duration::from_secs(600);
/// Bytes of an answer without audio that `bench` reads.
pub const BENCH_ANSWER_BYTES: usize = 4 << 20;
/// Bytes of a file of texts for `bench`.
pub const BENCH_TEXT_BYTES: u64 = 4 << 20;
/// Time a draining server waits for running requests.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// Speech tokens sampled ahead of a request's own thread (5 s of speech, 2.5 s in generation 1).
pub const LM_TOKENS_AHEAD: usize = 128;
/// Bound runs of the language model that are kept, one for every window of slots; more are bound again.
pub const LM_WINDOWS: usize = 64;
/// Threads that help to sample the rows of one step of the language model on a GPU.
pub const LM_SAMPLING_THREADS: usize = 7;
/// Voices prepared from request prompts and kept for reuse.
pub const PROMPT_CACHE_ENTRIES: usize = 64;
/// Size of one log file before it rotates is by day; this many days are kept.
pub const LOG_FILES_KEPT: usize = 14;
/// Bundles up to this many bytes are hashed when they are loaded.
pub const VERIFY_BYTES: u64 = 256 << 20;
/// Time a server that has drained takes to unload the model.
pub const UNLOAD_DEADLINE: Duration = Duration::from_secs(10);
/// Longest silence of a client that is sending a request body.
pub const BODY_IDLE: Duration = Duration::from_secs(30);
/// Bytes taken in and thrown away after a request was refused, so that its client gets to read the answer.
pub const DISCARD_BYTES: usize = 128 << 20;
/// Time that may take.
pub const DISCARD_TIME: Duration = Duration::from_secs(5);
/// Time a client may take to send a request's headers.
pub const HEADER_READ: Duration = Duration::from_secs(30);
/// Longest silence of a client that is not taking the answer it asked for.
pub const WRITE_IDLE: Duration = Duration::from_secs(120);
/// Open connections; one more waits in the operating system's backlog.
pub const CONNECTIONS: usize = 1024;
/// Recordings being decoded at once, whatever the number of requests: bounds memory and blocking threads.
pub const DECODES_AT_ONCE: usize = 8;
/// Bytes of request bodies held at once, over all connections; a request beyond is told to come back.
pub const BODY_BYTES_IN_FLIGHT: usize = 512 << 20;
/// Request bodies up to this many bytes are parsed in place; larger ones on a blocking thread.
pub const PARSE_IN_PLACE_BYTES: usize = 256 << 10;
/// Characters of a client's own request id.
pub const REQUEST_ID_CHARS: usize = 64;
/// Log lines waiting for the log file's writer; more are dropped rather than waited for.
pub const LOG_LINES_BUFFERED: usize = 16_384;
/// Bytes of the flow's page pool on a CPU at least, unless the command line says otherwise. Pages cost memory once they
/// are used.
pub const FLOW_CACHE_BYTES_CPU_LEAST: u64 = 1 << 30;
/// Likewise at most: 70 s of speech in flight of a 0.5B model.
pub const FLOW_CACHE_BYTES_CPU_MOST: u64 = 8 << 30;
/// Bytes of the flow's page pool on a GPU at most, unless the command line says otherwise; taken when the model is
/// loaded.
pub const FLOW_CACHE_BYTES_GPU: u64 = 16 << 30;
/// Of a GPU's free memory, or of a machine's, one part in so many is for it.
pub const FLOW_CACHE_PART: u64 = 4;
/// Pages of the flow's pool that were free for so long, and up to twice as long, give their memory back to the system
/// where it is the CPU's.
pub const FLOW_TRIM_WINDOW: Duration = Duration::from_secs(2);
/// Pages whose memory goes back at once: giving back one of 6 MB takes half a millisecond, and streams wait meanwhile.
pub const FLOW_TRIM_PAGES: usize = 16;
/// Of the flow's page pool, one part in so many is kept for the prompts of voices.
pub const FLOW_PREFIX_PART: usize = 2;
/// Mel frames of one utterance, prompt included, where the flow's noise is drawn and sets no bound: prompt and speech of
/// 30 s each. Attention over so many takes 2.5 GB.
pub const FLOW_FRAMES: usize = 5_500;
/// Utterances in one run of the flow on a GPU.
pub const FLOW_BATCH: usize = 32;
/// Query-key pairs of one run of the flow, over all rows: bounds the memory of its attention.
pub const FLOW_BATCH_PAIRS: usize = 8 << 20;
/// Runs of the flow begun and not finished: one due earlier goes before one that is at work.
pub const FLOW_RUNS: usize = 4;
/// New tokens of a flow run on a GPU that does not stop for one due earlier: shorter ones are over soon, and what
/// arrives meanwhile then runs together.
pub const FLOW_SHORT_RUN_TOKENS: usize = 100;
/// Shapes of flow runs kept bound, beside the captured ones.
pub const FLOW_SHAPES: usize = 8;
/// Shapes captured before a GPU serves, for each power of two of rows: (new chunks, pages of history), up to 24 s. One
/// new chunk at a stream's beginning and end, two and four between. A shape met for the first time takes a few hundred
/// milliseconds, which streams that play would hear.
pub const FLOW_CAPTURED_PAGES: [(usize, usize); 14] = [
    (1, 3),
    (1, 7),
    (1, 11),
    (1, 15),
    (1, 23),
    (2, 2),
    (2, 6),
    (2, 10),
    (2, 14),
    (2, 22),
    (4, 4),
    (4, 8),
    (4, 12),
    (4, 20),
];
/// Requests on a GPU beyond which a new stream begins with a longer chunk: its next one will take longer too.
pub const CROWDED_LANE: usize = 4;
/// Blocks of the heap of so many bytes and more go back to the system when they are freed.
pub const HEAP_BLOCK_BYTES: i32 = 1 << 20;
/// Free bytes at the end of a heap that it keeps.
pub const HEAP_END_BYTES: i32 = 16 << 20;
/// How often a request that waits for a stage looks whether anybody still wants its answer.
pub const CANCEL_POLL: Duration = Duration::from_millis(50);
/// Bytes of one gRPC message of a client: a recording of two minutes before trimming, and texts.
pub const GRPC_MESSAGE_BYTES: usize = 4 << 20;
/// Bytes of one to the services of health and reflection.
pub const GRPC_PROBE_BYTES: usize = 16 << 10;
/// Bytes of audio in one gRPC message of the server (1.4 s at 24 kHz).
pub const GRPC_AUDIO_BYTES: usize = 64 << 10;
/// Time a client takes to send the message of a gRPC call.
pub const GRPC_MESSAGE_TIME: Duration = Duration::from_secs(30);
/// Live gRPC calls that are open at once.
pub const GRPC_LIVE_CALLS: usize = 512;
/// Time between two utterances of a live gRPC call.
pub const GRPC_LIVE_IDLE: Duration = Duration::from_secs(600);
/// Calls at once on one gRPC connection; more wait with their client.
pub const GRPC_STREAMS: u32 = 128;
/// Bytes of the metadata of a gRPC call.
pub const GRPC_METADATA_BYTES: u32 = 16 << 10;
/// Bytes of one gRPC answer that wait for the network; then no more of it is made.
pub const GRPC_SEND_BYTES: usize = 64 << 10;
/// Silence after which the client of a gRPC connection is asked whether it is there.
pub const GRPC_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Time it takes to answer; then its connection is closed.
pub const GRPC_KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Time a gRPC client takes for each of TLS's handshake and HTTP/2's preface.
pub const GRPC_GREETING: Duration = Duration::from_secs(10);
