import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseEnv } from 'node:util';
import { expect } from 'vitest';
import { collect, eventually } from '../cli/cli.ts';
import { freePort } from '../http/server-process.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const runner = join(root, 'scripts/run.mjs');

/** Where the documents pretend that the clone is. */
const SHOWN_ROOT = '/srv/countersign';
const SHOWN_PORT = '8080';

/**
 * A page's blocks, as a person would follow them:
 *
 * | | |
 * |---|---|
 * | `console` | lines behind `$ ` are commands, what follows each is its output |
 * | `ini` | lines for `.env`, which hold from the next `npm start` on |
 * | `text` | stands in one of the terminals, of the server or of a simulator |
 *
 * Blocks of other languages are for reading.
 */
export type Block =
  | { readonly kind: 'command'; readonly line: string; readonly shown: string }
  | { readonly kind: 'settings'; readonly text: string }
  | { readonly kind: 'terminal'; readonly text: string };

export function blocksOf(page: string): Block[] {
  return [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].flatMap(([, language, body = '']): Block[] => {
    if (language === 'ini') return [{ kind: 'settings', text: body }];
    if (language === 'text') return [{ kind: 'terminal', text: body }];
    if (language !== 'console') return [];
    return [...body.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, line = '', shown = '']) => ({
      kind: 'command',
      line,
      shown: shown.trim(),
    }));
  });
}

/** Follows a page from the top, and fails where something is other than the page says. Nothing it starts outlives it. */
export async function follow(blocks: readonly Block[]): Promise<void> {
  const reader = await openReader();
  try {
    for (const block of blocks) {
      if (block.kind === 'command') await reader.run(block.line, block.shown);
      else if (block.kind === 'settings') reader.set(block.text);
      else await reader.find(block.text);
    }
  } finally {
    await reader.close();
  }
}

/** The variables that a copy of a folder's `.env.example` sets. */
export function exampleSettings(folder: string): NodeJS.Dict<string> {
  return parseEnv(readFileSync(join(root, folder, '.env.example'), 'utf8'));
}

type Program = {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** how much of its output the page has been through */
  readChars: number;
};

async function openReader() {
  const scratch = await mkdtemp(join(tmpdir(), 'countersign-page-'));
  const dataDirs = new Map<string, string>();
  const ports = new Map<string, string>();
  /** what a page shows of codes, tokens and ids, and what they are this time */
  const real = new Map<string, string>();
  /** `cd` and variables: what a shell would remember */
  const remembered: string[] = [];
  const children = new Set<ChildProcess>();
  const simulators: Program[] = [];
  let server: Program | undefined;
  let directory = root;
  let settings: NodeJS.Dict<string> = {};

  await realPort(SHOWN_PORT);

  async function realPort(shown: string): Promise<string> {
    const port = ports.get(shown) ?? String(await freePort());
    ports.set(shown, port);
    return port;
  }

  function dataDirFor(shown: string): string {
    const dataDir = dataDirs.get(shown) ?? join(scratch, String(dataDirs.size));
    dataDirs.set(shown, dataDir);
    return dataDir;
  }

  function environment(): NodeJS.ProcessEnv {
    const { PATH = '', HOME } = process.env;
    const ownEnv = join(directory, '.env');
    // A developer's own .env in the folder may hold credentials of real accounts: an empty variable takes each out.
    const blanked = existsSync(ownEnv) ? Object.keys(parseEnv(readFileSync(ownEnv, 'utf8'))) : [];
    return {
      PATH: `${dirname(process.execPath)}:${PATH}`,
      HOME,
      npm_config_update_notifier: 'false',
      INIT_CWD: directory,
      ...Object.fromEntries(blanked.map((name) => [name, ''])),
      ...settings,
      HOST: '127.0.0.1',
      PORT: ports.get(SHOWN_PORT),
      DATA_DIR: dataDirFor(settings['DATA_DIR'] ?? `${directory.replace(root.replace(/\/$/, ''), SHOWN_ROOT)}/data`),
    };
  }

  async function start(args: readonly string[]): Promise<Program> {
    const child = spawn(process.execPath, [runner, ...args], { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    child.once('close', () => children.delete(child));
    const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
    const output = () => stdout() + stderr();
    await eventually(() => {
      if (child.exitCode !== null) throw new Error(`${args.join(' ')} ended with ${child.exitCode}:\n${output()}`);
      // The last line of a greeting, whichever it is.
      return /"address":"http.*\n|Ctrl-C ends it/.test(output()) || undefined;
    }, 20_000);
    return { child, output, readChars: 0 };
  }

  async function stop(child: ChildProcess): Promise<void> {
    const ended = once(child, 'close');
    // Not KILL: the runner could not pass it on, and its child would stay.
    child.kill('SIGTERM');
    await ended;
  }

  /** What the page says, with this run's ports, codes and ids. */
  function toReal(text: string): string {
    let result = text;
    for (const [shown, port] of ports) result = result.replace(new RegExp(`\\b${shown}\\b`, 'g'), port);
    for (const [shown, value] of real) result = result.replaceAll(shown, value);
    return result;
  }

  /** What came out, with the page's ports and directories. */
  function toShown(text: string): string {
    let result = text;
    for (const [shown, port] of ports) result = result.replace(new RegExp(`\\b${port}\\b`, 'g'), shown);
    for (const [shown, dataDir] of dataDirs) result = result.replaceAll(dataDir, shown);
    // An empty line of a frame ends with a space, which editors take out of pages.
    return result.replaceAll(root, `${SHOWN_ROOT}/`).replaceAll(/ +$/gm, '').trim();
  }

  /** Does it match? Then what stood in the place of each code, token and id is known from now on. */
  function matches(shown: string, got: string, isWhole: boolean): boolean {
    const { source, unknown } = patternOf(shown, real);
    const found = new RegExp(isWhole ? `^${source}$` : source).exec(got);
    for (const [index, value] of unknown.entries()) if (found !== null) real.set(value, found[index + 1] ?? '');
    return found !== null;
  }

  return {
    set(text: string) {
      const added = parseEnv(toReal(text));
      if (added['COUNTERSIGN_SECRET'] === '…') added['COUNTERSIGN_SECRET'] = randomBytes(32).toString('hex');
      // Reports have to come back to this machine.
      if (added['PUBLIC_URL']) added['PUBLIC_URL'] = `http://127.0.0.1:${ports.get(SHOWN_PORT)}`;
      settings = { ...settings, ...added };
    },

    /** Looks for some lines in any terminal, below what was found there before. */
    async find(text: string) {
      const programs = [server, ...simulators].filter((each) => each !== undefined);
      // A message may come a moment later than the answer that went with it.
      await eventually(() => {
        const showing = programs.find(({ output, readChars }) =>
          matches(text.trim(), toShown(output().slice(readChars)), false),
        );
        if (showing !== undefined) showing.readChars = showing.output().length;
        return showing;
      }).catch((error: unknown) => {
        const terminals = programs.map(({ output }) => toShown(output())).join('\n---\n');
        throw new Error(`no terminal shows\n${text}\nbut they show\n${terminals}`, { cause: error });
      });
    },

    async run(line: string, shown: string) {
      for (const [, port = ''] of line.matchAll(/(?:127\.0\.0\.1:|--port )(\d+)/g)) await realPort(port);
      const [, folder] = /^cd (\S+)$/.exec(line) ?? [];
      const [, simulate] = /^npm run -s countersign -- (simulate .*)$/.exec(line) ?? [];
      if (folder !== undefined) {
        directory = join(root, folder);
      } else if (line === 'cp .env.example .env') {
        // Without a file: the next one to start the example would find it there.
        settings = exampleSettings(directory.slice(root.length));
      } else if (line === 'npm start') {
        if (server !== undefined && children.has(server.child)) await stop(server.child);
        server = await start(['serve']);
        if (shown !== '') await this.find(shown);
      } else if (simulate !== undefined) {
        const simulator = await start(['cli', ...toReal(simulate).split(' ')]);
        simulators.push(simulator);
        if (shown !== '') await this.find(shown);
      } else if (/^[A-Z]+=/.test(line)) {
        remembered.push(toReal(line));
      } else {
        const got = toShown(await runInShell([...remembered, toReal(line)].join('\n'), directory, environment()));
        if (!matches(shown, got, true)) expect(got, `$ ${line}`).toBe(shown);
      }
    },

    async close() {
      await Promise.all([...children].map(stop));
      await rm(scratch, { recursive: true, force: true });
    },
  };
}

function runInShell(script: string, cwd: string, env: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('bash', ['-c', script], { cwd, env, timeout: 30_000 }, (error, stdout, stderr) => {
      // A command may well end with 1: `doctor` that found something.
      if (error !== null && stdout === '') reject(new Error(`${script}\n${error.message}\n${stderr}`));
      else resolve(stdout);
    });
  });
}

/** What changes from run to run: access tokens, ids, instants, times, room on the disk, and codes. */
const CHANGING =
  /(\b[0-9a-f]{40}\b|\b(?:ver|msg)_[0-9a-z]{26}\b|\b(?:SM|VE|VA)[0-9a-f]{32}\b|\d{4}-\d{2}-\d{2}T[\d:.]+Z|\b\d{2}:\d{2}:\d{2}\b|\b\d+(?= MiB)|(?<![\d+])\d{6}(?!\d))/;

/**
 * `…` stands for whatever was left out; of what changes only the form counts.
 * @param known what some of it is this time
 */
function patternOf(shown: string, known: ReadonlyMap<string, string>): { source: string; unknown: string[] } {
  const unknown: string[] = [];
  const source = shown
    .split(CHANGING)
    .map((part, index) => {
      if (index % 2 === 0) return escaped(part).replaceAll('…', '[^]+?');
      const isTimeOrSize = /:/.test(part) || /^\d{1,5}$|^\d{7,}$/.test(part);
      if (isTimeOrSize) return escaped(part).replace(/\d+/g, '\\d+');
      // A page that shows one code twice means the same one.
      const met = known.get(part);
      if (met !== undefined) return escaped(met);
      if (unknown.includes(part)) return `\\${unknown.indexOf(part) + 1}`;
      unknown.push(part);
      return `(${formOf(part)})`;
    })
    .join('');
  return { source, unknown };
}

function formOf(value: string): string {
  if (/^\d{6}$/.test(value)) return '\\d{6}';
  if (/^[0-9a-f]{40}$/.test(value)) return '[0-9a-f]{40}';
  const [, prefix = '', rest = ''] = /^([A-Za-z]+_|[A-Z]{2})(.*)$/.exec(value) ?? [];
  return `${prefix}[0-9a-z]{${rest.length}}`;
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
}
