// What the page says, in English and Chinese. Elements name their text by data-t (data-t-label: their aria-label), so a
// switch of language reaches all that is shown, figures and messages included.

const TEXTS = {
  en: {
    title: 'playground', skip: 'Skip to the form', key: 'API key', docs: 'API reference', tabs: 'What to do',
    tabSpeak: 'Speak', tabCompare: 'Compare', tabClone: 'Clone', tabLive: 'Live text',
    model: 'Model {name}, {rate} Hz', mode: 'Mode',
    sft: 'Voice', instruct: 'Voice and instruction', zeroShot: 'Recording and its text',
    crossLingual: 'Recording, another language', vc: 'Convert speech',
    hint_sft: 'A built-in or cloned voice reads the text.',
    hint_instruct: 'A voice reads the text as the instruction says.',
    hint_zero_shot: 'The text is read with the voice of the recording.',
    hint_cross_lingual: 'As before, without the words of the recording: for another language, or when they are unknown.',
    hint_vc: 'What the first recording says, as it says it, with another voice.',
    voice: 'Voice', ofRecording: 'that of a recording', voices: 'Voices', text: 'Text to speak',
    source: 'Speech to convert', prompt: 'Recording of the voice', promptText: 'What is said in the recording',
    instruction: 'Instruction', speed: 'Speed', seed: 'Seed (empty: a new one)', go: 'Speak', stop: 'Stop',
    keys: 'Ctrl+Enter speaks, Escape stops', compareGo: 'Compare',
    compareHint: 'One text, several voices, the same seed; one after the other, so that times compare.',
    cloneHint: 'A recording of 3 to 15 seconds and what is said in it become a voice that the server keeps. Only clone voices whose owners agree.',
    id: 'Id', name: 'Name (optional)', cloneGo: 'Clone', use: 'Speak with it', cloned: '{name} can speak now.',
    saved: 'Saved voices', noneSaved: 'None yet.', remove: 'Remove', really: 'Really remove?', removed: '{name} was removed.',
    liveHint: 'The text is spoken while it is written, as for a voice agent. What was spoken cannot be taken back.',
    paced: 'Write it as a language model does, 20 characters a second', end: 'End of text', interrupt: 'Interrupt',
    first: 'First audio', total: 'Total', length: 'Length', pace: 'Pace', seedUsed: 'Seed', ms: '{n} ms', s: '{n} s',
    times: '{n} × real time', download: 'Download WAV', curl: 'The same with curl', copy: 'Copy', copied: 'Copied.',
    notCopied: 'Could not copy; select the text instead.', wave: 'Waveform, {n} s',
    record: 'Record', recordStop: 'Stop recording', file: 'or a file', level: 'Level',
    recording: 'Recording: {n} s of at most {most} s.', recorded: '{n} s recorded.', chosen: '{name}',
    noMicrophone: 'The browser gives no microphone here: it needs HTTPS or localhost.',
    microphoneRefused: 'The microphone cannot be used: {why}',
    waiting: 'Waiting for the first audio…', speaking: 'Speaking: first audio after {n} ms.',
    done: 'Done: {n} s of speech.', stopped: 'Stopped.', comparing: '{name}: {i} of {n}', compared: '{n} voices compared.',
    saving: 'The voice is being made…', noRecording: 'Record something or choose a file: {what}.',
    noVoices: 'Choose at least one voice.', unreachable: 'The server cannot be reached.',
    brokeOff: 'The speech broke off.', refused: 'The server refused ({status}): {detail}',
    unauthorised: 'The server wants an API key: enter it above.', busy: 'The server is busy ({status}): {detail}',
    fault: 'The server failed ({status}): {detail}', sample: 'Hello! This voice speaks while it is still being made.',
    sampleInstruction: 'Speak quickly.',
  },
  zh: {
    title: '试用台', skip: '跳到表单', key: 'API 密钥', docs: 'API 文档', tabs: '功能',
    tabSpeak: '合成', tabCompare: '对比', tabClone: '克隆', tabLive: '实时文本',
    model: '模型 {name}，{rate} Hz', mode: '模式',
    sft: '音色', instruct: '音色加指令', zeroShot: '录音及其文本', crossLingual: '录音，跨语种', vc: '语音转换',
    hint_sft: '用内置或克隆的音色朗读文本。', hint_instruct: '音色按指令朗读文本。',
    hint_zero_shot: '用录音中的音色朗读文本。', hint_cross_lingual: '同上，但不用录音的文本：适合另一种语言，或录音内容未知时。',
    hint_vc: '用另一种音色说出第一段录音的内容，语气不变。',
    voice: '音色', ofRecording: '取自录音', voices: '音色', text: '要朗读的文本',
    source: '要转换的语音', prompt: '音色的录音', promptText: '录音中说的话',
    instruction: '指令', speed: '语速', seed: '随机种子（留空则随机）', go: '朗读', stop: '停止',
    keys: 'Ctrl+Enter 朗读，Esc 停止', compareGo: '对比',
    compareHint: '同一文本、同一种子、多个音色；依次合成，时间可比。',
    cloneHint: '3 到 15 秒的录音及其文本会成为服务器保存的音色。请只克隆得到本人同意的声音。',
    id: '编号', name: '名称（可选）', cloneGo: '克隆', use: '用它朗读', cloned: '{name} 可以说话了。',
    saved: '已保存的音色', noneSaved: '暂无。', remove: '删除', really: '确定删除？', removed: '已删除 {name}。',
    liveHint: '文本边写边读，如同语音助手。已读的内容无法收回。',
    paced: '像语言模型那样书写，每秒 20 个字符', end: '文本结束', interrupt: '打断',
    first: '首包', total: '总耗时', length: '时长', pace: '速率', seedUsed: '种子', ms: '{n} 毫秒', s: '{n} 秒',
    times: '{n} 倍实时', download: '下载 WAV', curl: '用 curl 得到同样的语音', copy: '复制', copied: '已复制。',
    notCopied: '无法复制，请手动选择文本。', wave: '波形，{n} 秒',
    record: '录音', recordStop: '结束录音', file: '或选择文件', level: '音量',
    recording: '正在录音：{n} 秒，最长 {most} 秒。', recorded: '已录 {n} 秒。', chosen: '{name}',
    noMicrophone: '浏览器在此不提供麦克风：需要 HTTPS 或 localhost。', microphoneRefused: '无法使用麦克风：{why}',
    waiting: '等待首包…', speaking: '正在朗读：首包 {n} 毫秒。', done: '完成：{n} 秒语音。', stopped: '已停止。',
    comparing: '{name}：第 {i} 个，共 {n} 个', compared: '已对比 {n} 个音色。',
    saving: '正在制作音色…', noRecording: '请录音或选择文件：{what}。', noVoices: '请至少选择一个音色。',
    unreachable: '无法连接服务器。', brokeOff: '语音中断了。', refused: '服务器拒绝（{status}）：{detail}',
    unauthorised: '服务器需要 API 密钥：请在上方输入。', busy: '服务器繁忙（{status}）：{detail}',
    fault: '服务器出错（{status}）：{detail}', sample: '你好！这个声音一边生成一边播放。', sampleInstruction: '说得快一点。',
  },
};

let language = 'en';

/** The text of a key in the present language, its {places} filled in; a value { t: key } is a text itself. */
export function t(key, values = {}) {
  const fill = (_, place) => (values[place]?.t ? t(values[place].t) : values[place]);
  return (TEXTS[language][key] ?? key).replace(/\{(\w+)\}/g, fill);
}

/** Shows a text in an element and keeps it in the language of the page; without a key, nothing. */
export function say(element, key, values = {}) {
  if (!key) {
    delete element.dataset.t;
    element.textContent = '';
    return;
  }
  element.dataset.t = key;
  element.dataset.values = JSON.stringify(values);
  element.textContent = t(key, values);
}

/** Shows all texts below an element in the present language. */
export function translate(root = document) {
  for (const element of root.querySelectorAll('[data-t]')) {
    element.textContent = t(element.dataset.t, JSON.parse(element.dataset.values ?? '{}'));
  }
  for (const element of root.querySelectorAll('[data-t-label]')) {
    const values = JSON.parse(element.dataset.values ?? '{}');
    element.setAttribute('aria-label', t(element.dataset.tLabel, values));
  }
}

/** Sets up the switch: the language kept from before, else the browser's. `changed` is told of each change. */
export function languages(button, changed) {
  const set = (wanted) => {
    const samples = [t('sample'), t('sampleInstruction')];
    language = wanted;
    document.documentElement.lang = wanted === 'zh' ? 'zh-CN' : 'en';
    document.title = `cosyserve ${t('title')}`;
    button.textContent = wanted === 'zh' ? 'English' : '中文';
    button.lang = wanted === 'zh' ? 'en' : 'zh-CN';
    translate();
    changed(samples);
  };
  const browsers = navigator.languages?.[0] ?? navigator.language;
  set(localStorage.getItem('language') ?? (browsers.startsWith('zh') ? 'zh' : 'en'));
  button.addEventListener('click', () => {
    const other = language === 'zh' ? 'en' : 'zh';
    localStorage.setItem('language', other);
    set(other);
  });
}
