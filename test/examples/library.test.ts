import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const directory = fileURLToPath(new URL('../../examples/library', import.meta.url));

describe('example: library', () => {
  let dataDir: string;

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'countersign-example-'));
  });

  afterEach(async () => {
    await rm(dataDir, { recursive: true, force: true });
  });

  it('prints what its README shows, leaves its data in DATA_DIR, and ends by itself', async () => {
    // Nothing of the developer's own environment: credentials in it would send a real text.
    const { PATH } = process.env;
    const { stdout, stderr } = await run(process.execPath, [join(directory, 'main.ts')], {
      cwd: dataDir,
      env: { PATH, DATA_DIR: dataDir },
      timeout: 15_000,
    });
    expect(stderr).toBe('');
    const readme = await readFile(join(directory, 'README.md'), 'utf8');
    const [, shown] = /^```console\n\$ .*\n([^`]+)^```$/m.exec(readme) ?? [];
    expect(stdout).toBe(shown);
    expect(await readdir(dataDir)).toContain('countersign.db');
  });
});
