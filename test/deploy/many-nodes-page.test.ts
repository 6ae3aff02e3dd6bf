import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseEnv } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort } from '../http/server-process.ts';
import { onDatabase, startPostgres } from '../servers/postgres.ts';
import { startRedis } from '../servers/redis.ts';
import { findNginx, findServers } from './needed-programs.ts';
import { PageSession } from './page-session.ts';
import { steadyCaller } from './steady-caller.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(join(root, 'docs/many-nodes.md'), 'utf8');
const [nginx, servers] = [findNginx(), findServers()];

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

describe.skipIf(nginx === null || servers === null)('docs/many-nodes.md', () => {
  it('is followed from the top, and no request fails while nodes are started anew', { timeout: 180_000 }, async () => {
    const postgres = await startPostgres();
    cleanUps.push(() => postgres.close());
    const redis = await startRedis();
    cleanUps.push(() => redis.close());
    for (const statement of blocksOf('sql', sectionOf('Two nodes on one machine')).flatMap((text) => text.split(/;\n/)))
      if (statement.trim() !== '') await onDatabase(postgres.url, (client) => client.query(statement));

    const scratch = mkdtempSync(join(tmpdir(), 'countersign-many-nodes-'));
    cleanUps.push(() => rmSync(scratch, { recursive: true, force: true }));
    const ports = new Map([
      ['5432', String(postgres.port)],
      ['6379', String(redis.port)],
      ...(await Promise.all(['8080', '8081', '8082'].map(async (port) => [port, String(await freePort())] as const))),
    ]);
    const proxy = `http://127.0.0.1:${ports.get('8080')}`;
    const { PATH, HOME } = process.env;
    const path = [dirname(nginx ?? ''), dirname(process.execPath), PATH].join(':');
    const env = { ...withoutOwnSettings(), PATH: path, HOME, HOST: '127.0.0.1', npm_config_update_notifier: 'false' };
    const session = new PageSession(
      root,
      { ...env, COUNTERSIGN_CONFIG: roomyConfig(scratch) },
      new Map([...ports, ['data', scratch]]),
    );
    cleanUps.push(() => session.close());

    const follow = async (heading: string, change: (line: string) => string = (line) => line) => {
      for (const { line, shown } of linesOf(sectionOf(heading))) {
        await session.run(change(line), change(shown));
        if (line.startsWith('cp -r deploy/nginx')) writePorts(join(scratch, 'proxy'), ports);
      }
    };
    await follow('Two nodes on one machine');
    await follow('One of them dies');
    const [ending = { line: '', shown: '' }] = linesOf(sectionOf('One after the other')).slice(-1);
    expect(ending.line).toMatch(/^kill \$PROXY/);
    const restart = linesOf(sectionOf('One after the other')).slice(0, -1);
    const caller = steadyCaller(proxy);
    cleanUps.push(() => caller.stop());
    for (const { line, shown } of restart) await session.run(line, shown);
    // "Then the same with 8082 and NODE_2."
    const second = (text: string) => text.replaceAll('8081', '8082').replaceAll('NODE_1', 'NODE_2');
    for (const { line, shown } of restart) await session.run(second(line), second(shown));
    const { pairs, failures } = await caller.stop();
    expect(failures).toEqual([]);
    expect(pairs).toBeGreaterThan(50);
    await session.run(ending.line, ending.shown);
  });
});

/** A developer's own .env in the clone may hold credentials of real accounts: an empty variable takes each out. */
function withoutOwnSettings(): Record<string, string> {
  const file = join(root, '.env');
  const names = existsSync(file) ? Object.keys(parseEnv(readFileSync(file, 'utf8'))) : [];
  return Object.fromEntries(names.map((name) => [name, '']));
}

/** Steady callers of one machine would soon be at the limit of their address. */
function roomyConfig(directory: string): string {
  const roomy = [{ max: 1_000_000, windowSeconds: 3600 }];
  const limits = { perNumber: roomy, perAddress: roomy, perPrefix: roomy, perApp: roomy };
  const file = join(directory, 'roomy.json');
  writeFileSync(file, JSON.stringify({ apps: { default: { limits } } }));
  return file;
}

/** From a heading to the next one of whatever level. */
function sectionOf(heading: string): string {
  const [, section] = new RegExp(`^#+ ${heading}\\n([\\s\\S]*?)(?=^#+ |$(?![\\s\\S]))`, 'm').exec(page) ?? [];
  if (section === undefined) throw new Error(`the page has no heading '${heading}'`);
  return section;
}

function blocksOf(language: string, text: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, body = '']) => body);
}

function linesOf(text: string): { line: string; shown: string }[] {
  const session = blocksOf('console', text).join('');
  return [...session.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, line = '', shown = '']) => ({
    line,
    shown: shown.trim(),
  }));
}

/** The ports of the page may be taken on this machine, and nobody outside of it is to reach the test's proxy. */
function writePorts(directory: string, ports: ReadonlyMap<string, string>): void {
  for (const name of readdirSync(directory)) {
    const file = join(directory, name);
    const text = readFileSync(file, 'utf8').replaceAll(/\b808[012]\b/g, (port) => ports.get(port) ?? port);
    writeFileSync(file, text.replaceAll(/^ *listen (\d+);/gm, 'listen 127.0.0.1:$1;'));
  }
}
