// Requests of the server. Addresses are relative to the page's, so that a proxy may serve it under a prefix.

const address = (path) => new URL(path, document.baseURI).href;

/** The API key; it lives as long as the browser's tab. */
export const key = {
  get: () => sessionStorage.getItem('key') ?? '',
  set: (value) => sessionStorage.setItem('key', value),
};

/** What went wrong, as a text's key and its values. */
export class Failure extends Error {
  constructor(text, values = {}) {
    super(text);
    this.text = text;
    this.values = values;
  }
}

/** A request: a path and either JSON fields or a form's `fields` and `files` ({ name: { blob, name } }). */
export async function send({ path, json, fields, files, method }, signal) {
  const headers = {};
  let body;
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (json) {
    headers['Content-Type'] = 'application/json';
    body = JSON.stringify(json);
  } else if (fields) {
    body = new FormData();
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
    for (const [name, file] of Object.entries(files)) body.append(name, file.blob, file.name);
  }
  let response;
  try {
    response = await fetch(address(path), { method: method ?? (body ? 'POST' : 'GET'), headers, body, signal });
  } catch (error) {
    throw error.name === 'AbortError' ? error : new Failure('unreachable');
  }
  if (response.ok) return response;
  const { status } = response;
  const told = await response.json().catch(() => ({}));
  const values = { status, detail: told.detail ?? response.statusText };
  if (status === 401) throw new Failure('unauthorised');
  throw new Failure(status === 503 ? 'busy' : status >= 500 ? 'fault' : 'refused', values);
}

/** A WebSocket at this path. A browser sends the key in the address, as it cannot set headers. */
export function socket(path) {
  const url = new URL(address(path).replace(/^http/, 'ws'));
  if (key.get()) url.searchParams.set('api_key', key.get());
  const opened = new WebSocket(url);
  opened.binaryType = 'arraybuffer';
  return opened;
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

/** The shell command that gives the same speech as a file: same seed, as MP3. The key stays out of it. */
export function curl({ path, json, fields, files }, seed) {
  const lines = [`curl ${quoted(address(path))}`];
  if (key.get()) lines.push('-H "Authorization: Bearer $COSYSERVE_API_KEY"');
  const { format, ...rest } = { ...(json ?? fields), seed: seed || undefined };
  if (json) {
    lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(rest))}`);
  } else {
    for (const [name, value] of Object.entries(rest)) {
      if (value !== undefined) lines.push(`--form-string ${quoted(`${name}=${value}`)}`);
    }
    for (const [name, file] of Object.entries(files)) {
      lines.push(`-F ${quoted(`${name}=@"${file.name.replace(/["\\]/g, '\\$&')}"`)}`);
    }
  }
  return [...lines, '-o speech.mp3'].join(' \\\n  ');
}
