// The page: tabs, language, key, voices, and the four forms.

import { Failure, key, send } from './api.js';
import { Live } from './live.js';
import { Recording } from './recording.js';
import { Result, Task } from './result.js';
import { languages, say, t } from './text.js';

/** Results that stay on the page. */
const KEPT = 10;

const panels = Object.fromEntries(['speak', 'compare', 'clone', 'live'].map((id) => [id, document.getElementById(id)]));
const forms = Object.fromEntries(Object.entries(panels).map(([id, panel]) => [id, panel.querySelector('form')]));
const tasks = Object.fromEntries(Object.entries(panels).map(([id, panel]) => [id, new Task(panel)]));
const recordings = Object.fromEntries(
  Object.entries(panels).map(([id, panel]) => [
    id,
    Object.fromEntries([...panel.querySelectorAll('.recording')].map((at) => [at.dataset.field, new Recording(at)])),
  ]),
);
/** Hertz of the model's speech, once the server has said it. */
let rate = 24000;

function tabs() {
  const all = [...document.querySelectorAll('[role=tab]')];
  const open = (tab) => {
    for (const other of all) {
      const chosen = other === tab;
      other.setAttribute('aria-selected', chosen);
      other.tabIndex = chosen ? 0 : -1;
      panels[other.getAttribute('aria-controls')].hidden = !chosen;
    }
  };
  for (const [i, tab] of all.entries()) {
    tab.addEventListener('click', () => open(tab));
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = all[to % all.length];
      open(next);
      next.focus();
    });
  }
  return (id) => open(document.getElementById(`tab-${id}`));
}

/** Shows the fields of the mode; those of other modes are disabled, so that nobody has to fill them in. */
function fields() {
  const { mode, voice } = forms.speak.elements;
  const chosen = mode.value;
  for (const option of voice.querySelectorAll('option[value=""]')) option.hidden = option.disabled = chosen !== 'vc';
  voice.required = chosen !== 'vc';
  if (chosen !== 'vc' && !voice.value && voice.options.length > 1) voice.selectedIndex = 1;
  const shown = chosen === 'vc' && !voice.value ? ['vc', 'vc-recording'] : [chosen];
  for (const group of forms.speak.querySelectorAll('[data-modes]')) {
    const wanted = group.dataset.modes.split(' ').some((mode) => shown.includes(mode));
    group.hidden = group.disabled = !wanted;
  }
  say(document.getElementById('hint'), `hint_${chosen}`);
}

const name = ({ spk_id: id, spk_name: shown }) => (shown === id ? id : `${shown} (${id})`);

/** Asks for the voices and offers them; `chosen` is the one to choose. */
async function voices(chosen) {
  const { voices: all } = await (await send({ path: 'voices' })).json();
  // At first one that speaks the page's language.
  const fitting = all.find((one) => one.language === document.documentElement.lang.slice(0, 2)) ?? all[0];
  for (const { voice } of [forms.speak.elements, forms.live.elements]) {
    const before = chosen ?? voice.value;
    voice.replaceChildren(...all.map((one) => new Option(name(one), one.spk_id)));
    voice.value = all.some((one) => one.spk_id === before) ? before : fitting?.spk_id ?? '';
  }
  const recording = new Option('', '');
  say(recording, 'ofRecording');
  forms.speak.elements.voice.prepend(recording);
  offer(all);
  list(all.filter((one) => !one.built_in));
  fields();
}

/** Boxes to compare voices; the first few are ticked at first. */
function offer(all) {
  const group = panels.compare.querySelector('.voices');
  const ticked = new Set([...group.querySelectorAll(':checked')].map((box) => box.value));
  for (const label of group.querySelectorAll('label')) label.remove();
  for (const [i, one] of all.entries()) {
    const label = document.createElement('label');
    const box = Object.assign(document.createElement('input'), { type: 'checkbox', name: 'voices', value: one.spk_id });
    box.checked = ticked.size ? ticked.has(one.spk_id) : i < 4;
    label.append(box, name(one));
    group.append(label);
  }
}

/** The saved voices, each with a button that removes it when it is asked twice. */
function list(saved) {
  const items = saved.map((one) => {
    const item = document.createElement('li');
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    const label = document.createElement('span');
    label.textContent = name(one);
    say(button, 'remove');
    button.addEventListener('click', () => {
      if (button.dataset.t === 'remove') say(button, 'really');
      else remove(one);
    });
    button.addEventListener('blur', () => say(button, 'remove'));
    item.append(label, button);
    return item;
  });
  if (!items.length) {
    items.push(document.createElement('li'));
    say(items[0], 'noneSaved');
  }
  panels.clone.querySelector('.saved').replaceChildren(...items);
}

function remove(one) {
  return tasks.clone.run(async () => {
    await send({ path: `voices/${encodeURIComponent(one.spk_id)}`, method: 'DELETE' });
    await voices();
    tasks.clone.status('removed', { name: one.spk_name });
  });
}

/** What the server is and what it can say. */
async function connect() {
  await tasks.speak.run(async () => {
    const health = await (await send({ path: 'health' })).json();
    rate = health.sample_rate;
    say(document.getElementById('model'), 'model', { name: health.model, rate });
    await voices();
  });
}

/** The request that the form describes. */
function request() {
  const { elements } = forms.speak;
  const mode = elements.mode.value;
  const { prompt, source } = recordings.speak;
  const options = { speed: Number(elements.speed.value), stream: true, format: 'pcm' };
  if (elements.seed.value) options.seed = Number(elements.seed.value);
  const tts_text = elements.text.value;
  const spk_id = elements.voice.value;
  switch (mode) {
    case 'sft': return { path: 'tts', json: { tts_text, spk_id, ...options } };
    case 'instruct': {
      const instruct_text = elements.instruct_text.value;
      return { path: 'tts/instruct', json: { tts_text, spk_id, instruct_text, ...options } };
    }
    case 'zero_shot': {
      const prompt_text = elements.prompt_text.value;
      const files = { prompt_wav: prompt.get() };
      return { path: 'tts/zero_shot', fields: { tts_text, prompt_text, ...options }, files };
    }
    case 'cross_lingual':
      return { path: 'tts/cross_lingual', fields: { tts_text, ...options }, files: { prompt_wav: prompt.get() } };
    default: {
      const source_wav = source.get();
      if (spk_id) return { path: 'tts/vc', fields: { spk_id, ...options }, files: { source_wav } };
      return { path: 'tts/vc', fields: options, files: { source_wav, prompt_wav: prompt.get() } };
    }
  }
}

function speak() {
  const task = tasks.speak;
  const list = panels.speak.querySelector('.results');
  const { mode, text, voice } = forms.speak.elements;
  return task.run(async (signal) => {
    const player = task.player(rate);
    const wanted = request();
    task.status('waiting');
    const label = mode.value === 'vc' ? t('vc') : text.value;
    const result = new Result(list, `${wanted.json ? `${voice.value}: ` : ''}${label.slice(0, 80)}`);
    while (list.children.length > KEPT) list.lastElementChild.remove();
    const began = (n) => task.status('speaking', { n });
    await result.fetch(wanted, { signal, player, began });
    await result.follow(player, signal);
    signal.throwIfAborted();
    task.status('done', { n: result.seconds.toFixed(2) });
  });
}

function compare() {
  const task = tasks.compare;
  const list = panels.compare.querySelector('.results');
  return task.run(async (signal) => {
    const chosen = [...forms.compare.querySelectorAll('.voices :checked')].map((box) => box.value);
    if (!chosen.length) throw new Failure('noVoices');
    list.replaceChildren();
    const tts_text = forms.compare.elements.text.value;
    const seed = 1 + Math.floor(Math.random() * 0xffffffff);
    for (const [i, spk_id] of chosen.entries()) {
      task.status('comparing', { name: spk_id, i: i + 1, n: chosen.length });
      const result = new Result(list, spk_id, { last: true });
      await result.fetch({ path: 'tts', json: { tts_text, spk_id, seed, stream: true, format: 'pcm' } }, { signal });
    }
    task.status('compared', { n: chosen.length });
  });
}

function live() {
  const task = tasks.live;
  const { text, voice, paced } = forms.live.elements;
  const [list, end] = [panels.live.querySelector('.results'), panels.live.querySelector('.end')];
  const session = new Live(text);
  end.addEventListener('click', () => session.end());
  return () => task.run(async (signal) => {
    const player = task.player(rate);
    const result = new Result(list, voice.value, { live: true });
    while (list.children.length > KEPT) list.lastElementChild.remove();
    const began = (n) => task.status('speaking', { n });
    task.status('waiting');
    end.disabled = paced.checked;
    if (!paced.checked) text.focus();
    try {
      await session.speak({ spk_id: voice.value }, { paced: paced.checked, result, player, began, signal });
    } finally {
      end.disabled = true;
    }
    await result.follow(player, signal);
    signal.throwIfAborted();
    task.status('done', { n: result.seconds.toFixed(2) });
  });
}

function clone(open) {
  const task = tasks.clone;
  const use = panels.clone.querySelector('.use');
  use.addEventListener('click', () => {
    open('speak');
    forms.speak.elements.mode.value = 'sft';
    forms.speak.elements.voice.value = use.value;
    fields();
    forms.speak.elements.text.focus();
  });
  return () => task.run(async (signal) => {
    use.hidden = true;
    const { prompt_text, spk_id, spk_name } = forms.clone.elements;
    const texts = { prompt_text: prompt_text.value, spk_id: spk_id.value, spk_name: spk_name.value };
    const files = { prompt_audio: recordings.clone.prompt.get() };
    task.status('saving');
    const made = await (await send({ path: 'clone', fields: texts, files }, signal)).json();
    await voices(made.spk_id);
    task.status('cloned', { name: made.spk_name });
    Object.assign(use, { hidden: false, value: made.spk_id });
  });
}

function start() {
  const open = tabs();
  const work = { speak, compare, clone: clone(open), live: live() };
  for (const [id, form] of Object.entries(forms)) {
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      work[id]();
    });
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    panels[id].addEventListener('keydown', (event) => event.key === 'Escape' && tasks[id].stop());
  }
  const { elements } = forms.speak;
  forms.speak.addEventListener('change', fields);
  elements.speed.addEventListener('input', () => {
    elements.speed_shown.value = Number(elements.speed.value).toFixed(2).replace(/0$/, '');
  });
  const input = document.getElementById('key');
  input.value = key.get();
  input.addEventListener('change', () => {
    key.set(input.value.trim());
    connect();
  });
  languages(document.getElementById('language'), ([sample, instruction]) => {
    // A sample that nobody has changed follows the language.
    for (const field of [elements.text, forms.compare.elements.text, forms.live.elements.text]) {
      if (!field.value || field.value === sample) field.value = t('sample');
    }
    const field = elements.instruct_text;
    if (!field.value || field.value === instruction) field.value = t('sampleInstruction');
  });
  fields();
  connect();
}

start();
