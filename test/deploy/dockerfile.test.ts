import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Simulator } from '../../src/simulators/simulator-kit.ts';
import { twilioSimulator } from '../../src/simulators/twilio.ts';
import { codeIn, collect, eventually, SECRET, twilioEnvironment } from '../cli/cli.ts';
import { freePort } from '../http/server-process.ts';
import { startPostgres } from '../servers/postgres.ts';
import { startRedis } from '../servers/redis.ts';
import { contextFiles } from './build-context.ts';
import { parseDockerfile } from './dockerfile.ts';
import { buildImage, type Image } from './image.ts';
import { findServers } from './needed-programs.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string) => readFileSync(join(root, file), 'utf8');

describe('.dockerignore', () => {
  const files = [...contextFiles(root, read('.dockerignore'))];

  it('lets in what the build needs', () => {
    expect(files).toEqual(
      expect.arrayContaining([
        'package.json',
        'package-lock.json',
        'src/cli/main.ts',
        'web/inbox.html',
        'scripts/run.mjs',
      ]),
    );
  });

  it('keeps out data, secrets, tests, and what was built outside', () => {
    const unwanted = /(^|\/)(\.env[^/]*|\.git|data|dist|node_modules|test|examples|\.ci)(\/|$)/;
    expect(files.filter((file) => unwanted.test(file))).toEqual([]);
  });

  it('goes by the last line that fits', () => {
    const ignore = '# nothing\n*\n!src\nsrc/stores\n!src/stores/*.ts\n**/serve.ts\n';
    const kept = contextFiles(root, ignore);
    expect([...kept].filter((file) => !file.startsWith('src/'))).toEqual([]);
    expect(kept.has('src/index.ts') && kept.has('src/stores/records.ts')).toBe(true);
    expect(kept.has('src/cli/serve.ts') || kept.has('src/stores/sqlite/database.ts')).toBe(false);
  });
});

describe('the Dockerfile', () => {
  const stages = parseDockerfile(read('Dockerfile'));

  it('is based on the Node.js that the tests run on, in each stage', () => {
    const { devDependencies } = JSON.parse(read('package.json')) as { devDependencies: Record<string, string> };
    const bases = new Set(stages.map(({ base }) => base));
    expect([...bases]).toEqual([`node:${devDependencies['node']}-slim`]);
    expect(process.versions.node).toBe(devDependencies['node']);
  });

  it('runs no shell, downloads nothing by itself, and holds no secret', () => {
    const text = read('Dockerfile');
    expect(text).not.toMatch(/^ADD |curl|wget|:\/\/|SECRET=|PASSWORD=|TOKEN=/m);
    for (const { name, text } of stages.flatMap(({ instructions }) => instructions))
      if (['RUN', 'CMD', 'ENTRYPOINT'].includes(name)) expect(text).toMatch(/^\[/);
  });
});

const servers = findServers();

describe.skipIf(process.platform === 'win32')('what the Dockerfile makes', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'countersign-image-'));
  const running = new Set<ChildProcess>();
  let image: Image;
  let simulator: Simulator;

  beforeAll(async () => {
    simulator = await twilioSimulator.start();
    image = await buildImage(root, scratch);
  }, 300_000);

  afterAll(async () => {
    await Promise.all([...running].map((child) => stop(child, 'SIGKILL')));
    await simulator.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  /** `docker run`: the port is the test's own, and only this machine can reach it. */
  async function start(settings: Readonly<Record<string, string>> = {}) {
    const port = String(await freePort());
    const environment = {
      ...twilioEnvironment(simulator),
      COUNTERSIGN_SECRET: SECRET,
      HOST: '127.0.0.1',
      PORT: port,
      PUBLIC_URL: 'https://verify.example.com',
      ...settings,
    };
    const child = image.start([...image.entrypoint, ...image.command], environment);
    running.add(child);
    const output = [collect(child.stdout), collect(child.stderr)];
    const origin = `http://127.0.0.1:${port}`;
    await eventually(async () => {
      if (child.exitCode !== null)
        throw new Error(`ended with ${child.exitCode}:\n${output.map((each) => each()).join('')}`);
      return (await statusOf(`${origin}/readyz`)) === 200 || undefined;
    }, 20_000);
    return { child, environment, origin };
  }

  async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
    running.delete(child);
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const ended = once(child, 'exit');
    child.kill(signal);
    const [code] = (await ended) as [number | null];
    return code;
  }

  async function run(command: readonly string[], environment: Readonly<Record<string, string>>) {
    const child = image.start(command, environment);
    running.add(child);
    const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
    const [code] = (await once(child, 'close')) as [number | null];
    running.delete(child);
    return { code, stdout: stdout(), stderr: stderr() };
  }

  /** A code out and back, as a back end would do it. */
  async function verify(origin: string, environment: Readonly<Record<string, string>>): Promise<unknown> {
    const create = ['keys', 'create', '--app', 'default', '--name', 'test', '--json'];
    const { stdout, stderr } = await run([...image.entrypoint, ...create], environment);
    const key = /cs_[\w-]+/.exec(stdout)?.[0];
    expect(key, stderr).toBeDefined();
    const post = async (path: string, body: object) => {
      const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
      return fetch(`${origin}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    };
    const to = '+998901234567';
    const started = await post('/v1/verifications', { to });
    expect(started.status).toBe(201);
    const checked = await post('/v1/check', { to, code: codeIn(simulator.messages.at(-1)?.text) });
    return [checked.status, ((await checked.json()) as { status?: string }).status];
  }

  it('says what an operator looks for', () => {
    expect(image.user.uid).toBeGreaterThan(0);
    expect(image).toMatchObject({
      stopSignal: 'SIGTERM',
      ports: ['8080'],
      volumes: ['/data'],
      entrypoint: ['node', 'dist/cli/main.js'],
      command: ['serve'],
      labels: { 'org.opencontainers.image.title': 'Countersign' },
    });
  });

  it('has everything that the code reads at run time, and no tool that only built it', () => {
    const app = join(image.root, 'app');
    const assets = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.endsWith('.ts'))
      .map(({ parentPath, name }) => join(parentPath, name).slice(join(root, 'src').length));
    expect(assets.some((file) => file.endsWith('.sql'))).toBe(true);
    expect(assets.filter((file) => !existsSync(join(app, 'dist', file)))).toEqual([]);
    expect(existsSync(join(app, 'dist/web/dist/inbox.html'))).toBe(true);
    for (const left of ['node_modules/typescript', 'node_modules/vitest', 'node_modules/node', 'src', 'test', '.env'])
      expect([left, existsSync(join(app, left))]).toEqual([left, false]);
  });

  it('does not start without a secret, and says so', async () => {
    const { code, stderr } = await run([...image.entrypoint, ...image.command], { HOST: '127.0.0.1', PORT: '0' });
    expect([code, stderr]).toEqual([1, expect.stringContaining('COUNTERSIGN_SECRET is missing')]);
  });

  it('runs as one node with its volume, is healthy, and ends in order', { timeout: 60_000 }, async () => {
    const { child, environment, origin } = await start();
    expect(await statusOf(`${origin}/healthz`)).toBe(200);
    expect(await run(image.healthcheck, environment)).toMatchObject({ code: 0 });
    expect(await verify(origin, environment)).toEqual([200, 'approved']);
    expect(existsSync(join(image.root, 'data/countersign.db'))).toBe(true);
    // `docker stop`
    expect(await stop(child, image.stopSignal)).toBe(0);
    expect(await run(image.healthcheck, environment)).toMatchObject({ code: 1 });
  });

  it.skipIf(servers === null)(
    'runs on PostgreSQL and Redis without a place to write',
    { timeout: 60_000 },
    async () => {
      const [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
      try {
        const nowhere = join(image.root, 'app/none');
        const shared = { DATABASE_URL: postgres.url, REDIS_URL: redis.url, DATA_DIR: nowhere };
        const { child, environment, origin } = await start(shared);
        expect(await verify(origin, environment)).toEqual([200, 'approved']);
        expect(await stop(child, image.stopSignal)).toBe(0);
        expect(existsSync(nowhere)).toBe(false);
      } finally {
        await Promise.all([postgres.close(), redis.close()]);
      }
    },
  );
});

async function statusOf(url: string): Promise<number> {
  return fetch(url, { signal: AbortSignal.timeout(2000) }).then(
    ({ status }) => status,
    () => 0,
  );
}
