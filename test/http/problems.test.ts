import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problemCodes } from '../../src/domain/problem.ts';
import { problems } from '../../src/http/problem.ts';
import { problem, problemOf } from './http-client.ts';
import { docsDirectory, type RunningServer, startServer } from './running-server.ts';

let server: RunningServer;
let page: string;
beforeAll(async () => {
  server = await startServer();
  page = await readFile(join(docsDirectory, 'problems.md'), 'utf8');
});
afterAll(() => server.close());

describe('codes, statuses and docs/problems.md', () => {
  it('have the same codes in the same order, each once', () => {
    const headings = [...page.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual([...problemCodes]);
    expect(Object.keys(problems)).toEqual([...problemCodes]);
  });

  it.each([...problemCodes])('say the same status of %s, and what caller and operator do', async (code) => {
    const { status, text, headers } = await server.call('GET', `/problems/${code}`);
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('text/plain; charset=utf-8');
    expect(text).toContain(
      `${code} (HTTP ${problems[code].status}): ${problems[code].title}\n\nHTTP ${problems[code].status}. `,
    );
    expect(text).toMatch(/\*Caller:\*\s\S/);
    expect(text).toMatch(/\*Operator:\*\s\S/);
    expect(text).not.toContain('## ');
  });

  it('know nothing under another name', async () => {
    for (const code of [
      'nonsense',
      '__proto__',
      'constructor',
      'code-wrong%0A',
      '..%2f..%2fpackage.json',
      'a'.repeat(100),
    ]) {
      expect((await server.call('GET', `/problems/${code}`)).status, code).toBeGreaterThanOrEqual(400);
    }
    expect(problemOf(await server.call('GET', '/problems/nonsense'))).toEqual(problem(404, 'not-found'));
  });

  it('have no code that nothing returns', async () => {
    const root = join(docsDirectory, '..', 'src');
    const files = (await readdir(root, { recursive: true })).filter(
      (file) => file.endsWith('.ts') && file !== join('domain', 'problem.ts'),
    );
    const sources = await Promise.all(files.map((file) => readFile(join(root, file), 'utf8')));
    // The table of statuses names each code as a key; whoever returns one hands it over as a value.
    const source = sources.join('\n');
    expect(problemCodes.filter((code) => !new RegExp(`'${code}'(?!:)`).test(source))).toEqual([]);
  });
});
