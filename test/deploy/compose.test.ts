import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ConfigError, resolveConfig } from '../../src/config/load.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import { freePort, makeServerDirectory } from '../servers/machine.ts';
import { onRedis } from '../servers/redis.ts';
import { findValkey } from '../servers/redis-programs.ts';
import { ServerProcess } from '../servers/server-process.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string) => readFileSync(join(root, file), 'utf8');

type Service = {
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly networks: Readonly<Record<string, { ipv4_address?: string }>> | readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { condition: string }>>;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly restart?: string;
  readonly stop_grace_period?: string;
  readonly read_only?: boolean;
  readonly deploy?: { readonly resources?: { readonly limits?: { readonly memory?: string; readonly cpus?: string } } };
};
type Compose = {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { internal?: boolean } | null>>;
  readonly volumes: Readonly<Record<string, unknown>>;
};

const text = read('compose.yaml');
const { services, networks, volumes } = parse(text, { merge: true }) as Compose;
const each = Object.entries(services);
const nodes = each.filter(([name]) => name.startsWith('node-'));

/** What a person writes into `.env`. */
const ownSettings: Readonly<Record<string, string>> = {
  COUNTERSIGN_SECRET: '7f1c0d9a5be2438896adc4e1f02b7753aa90c1d2',
  POSTGRES_PASSWORD: '0f3a1c5e7d9b2468',
  VALKEY_PASSWORD: '8642b9d7e5c1a3f0',
  PUBLIC_URL: 'https://codes.example.com',
};

/** `${NAME:-default}` and `${NAME:?what to do}`, as Docker Compose fills them in. @throws what to do */
function filled(value: string, settings: Readonly<Record<string, string>>): string {
  return value.replaceAll(/\$\{(\w+):([-?])([^}]*)\}/g, (_, name: string, kind: string, rest: string) => {
    const set = settings[name];
    if (set !== undefined) return set;
    if (kind === '-') return rest;
    throw new Error(`${name}: ${rest}`);
  });
}

const addressOf = ({ networks: of }: Service) =>
  (of as Record<string, { ipv4_address?: string }>)['front']?.ipv4_address;

describe('compose.yaml', () => {
  it('has two nodes, which differ in their address alone', () => {
    expect(each.map(([name]) => name).toSorted()).toEqual(['node-1', 'node-2', 'postgres', 'proxy', 'valkey']);
    const [first, second] = nodes.map(([, { networks: _, ...rest }]) => rest);
    expect(first).toEqual(second);
  });

  it.each(each)('%s: says how it is, starts anew, and has a bound', (_, service) => {
    expect(service.healthcheck?.test[0]).toBe('CMD');
    expect(service.restart).toBe('unless-stopped');
    expect(service.deploy?.resources?.limits).toMatchObject({ memory: expect.any(String), cpus: expect.any(String) });
    // `countersign` is built here.
    if (service.image !== 'countersign') expect(service.image).toMatch(/^[a-z]+(\/[a-z]+)?:\d+(\.\d+)?$/);
    for (const volume of service.volumes ?? []) {
      const [from = ''] = volume.split(':');
      expect(from.startsWith('./') || from in volumes).toBe(true);
    }
    for (const [name, { condition }] of Object.entries(service.depends_on ?? {}))
      expect([name in services, condition]).toEqual([true, 'service_healthy']);
  });

  it('publishes the proxy, and nothing else', () => {
    expect(each.filter(([, { ports }]) => ports !== undefined).map(([name]) => name)).toEqual(['proxy']);
    for (const name of ['postgres', 'valkey']) expect(services[name]?.networks).toEqual(['data']);
    expect(networks['data']?.internal).toBe(true);
  });

  it('has no secret in it, and names each that is missing with what to do', () => {
    for (const [, { environment = {}, command = [] }] of each) {
      const secrets = [
        ...Object.entries(environment).flatMap(([name, value]) => (/SECRET|PASSWORD|AUTH/.test(name) ? [value] : [])),
        ...Object.values(environment).flatMap((value) => /:\/\/[^:]*:(\$\{[^}]*\}|[^@]*)@/.exec(value)?.[1] ?? []),
        ...command.flatMap((word, index) => (word === '--requirepass' ? [command[index + 1] ?? ''] : [])),
      ];
      for (const secret of secrets) expect(secret).toMatch(/^\$\{[A-Z_]+:\?make one with openssl rand [^}]+\}$/);
    }
    for (const name of Object.keys(ownSettings)) {
      const { [name]: _, ...others } = ownSettings;
      expect(() => filled(text, others)).toThrow(name);
    }
    expect(() => filled(text, ownSettings)).not.toThrow();
  });

  it('is asked for by the page as it asks for it', () => {
    const [, block = ''] = /cat > \.env <<END\n([\s\S]*?)END\n/.exec(read('docs/many-nodes.md')) ?? [];
    expect([...block.matchAll(/^(\w+)=/gm)].map(([, name]) => name)).toEqual(Object.keys(ownSettings));
  });

  it('gives the nodes settings that they take', () => {
    const example = read('.env.example');
    for (const [, { environment = {} }] of nodes) {
      const settings = Object.entries(environment).map(([name, value]) => [name, filled(value, ownSettings)] as const);
      for (const [name] of settings) expect(example).toMatch(new RegExp(`^#?${name}=`, 'm'));
      const { mode, databaseUrl, redisUrl, databasePoolSize } = resolved({
        ...Object.fromEntries(settings),
        ...twilio,
      });
      expect([mode, databasePoolSize]).toEqual(['production', 10]);
      expect([databaseUrl, redisUrl].map((url) => new URL(url ?? '').hostname)).toEqual(['postgres', 'valkey']);
      expect(new URL(databaseUrl ?? '').pathname.slice(1)).toBe(services['postgres']?.environment?.['POSTGRES_DB']);
    }
  });

  it('lets the nodes believe the proxy alone, and leads the proxy to the nodes', () => {
    const { proxy } = services;
    expect(nodes.map(([, { environment }]) => environment?.['TRUSTED_PROXIES'])).toEqual(
      nodes.map(() => proxy && addressOf(proxy)),
    );
    const upstream = [...read('deploy/nginx/compose-nodes.conf').matchAll(/^ {2}server (\S+):8080 /gm)];
    expect(upstream.map(([, address]) => address)).toEqual(nodes.map(([, node]) => addressOf(node)));
    const [from, to] = proxy?.volumes?.[0]?.split(':') ?? [];
    expect([from, proxy?.command]).toEqual(['./deploy/nginx', expect.arrayContaining([`${to}/compose.conf`])]);
  });

  it('leaves requests the time that they may take, and the database the connections of all', () => {
    for (const [, node] of nodes) {
      expect(Number.parseInt(node.stop_grace_period ?? '', 10)).toBeGreaterThan(12);
      expect(node.read_only).toBe(true);
    }
    const most = Number(/max_connections=(\d+)/.exec(services['postgres']?.command?.join(' ') ?? '')?.[1]);
    // One node more than there are, as docs/many-nodes.md has it; three are PostgreSQL's own.
    expect((nodes.length + 1) * 10 + 10).toBeLessThanOrEqual(most - 3);
  });
});

const valkey = findValkey();

describe.skipIf(valkey === null)("compose.yaml's Valkey", () => {
  it('starts as it is told to, asks for the password, throws nothing away, and is healthy', async () => {
    const [, ...args] = services['valkey']?.command?.map((word) => filled(word, ownSettings)) ?? [];
    const port = await freePort();
    const directory = makeServerDirectory('compose-valkey', undefined);
    const place = ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory.path];
    const program = { program: valkey?.path ?? '', cwd: directory.path, account: undefined };
    const server = new ServerProcess({ ...program, args: [...args, ...place], lastSignal: 'SIGKILL' });
    const url = `redis://:${ownSettings['VALKEY_PASSWORD']}@127.0.0.1:${port}`;
    try {
      await server.untilAnswers(() => onRedis(url, async (client) => void (await client.ping())), 10_000);
      await onRedis(url, async (client) => {
        expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
        expect(await client.config('GET', 'append*')).toEqual(expect.arrayContaining(['everysec', 'yes']));
      });
      const [, tool = '', ...words] = services['valkey']?.healthcheck?.test ?? [];
      const cli = valkey?.path.replace('valkey-server', tool) ?? '';
      const ask = (password: string) =>
        promisify(execFile)(cli, ['-p', String(port), ...words], { env: { REDISCLI_AUTH: password }, timeout: 5000 });
      expect((await ask(ownSettings['VALKEY_PASSWORD'] ?? '')).stdout.trim()).toBe('PONG');
      await expect(ask('wrong')).rejects.toThrow();
    } finally {
      await server.end('SIGTERM');
      await directory.remove();
    }
  });
});

const twilio = {
  TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
  TWILIO_AUTH_TOKEN: 'token',
  TWILIO_PHONE_NUMBER: '+15005550006',
};

function resolved(environment: Readonly<Record<string, string>>) {
  try {
    return resolveConfig({}, environment, providerDefinitions, root);
  } catch (error) {
    throw error instanceof ConfigError ? new Error(error.faults.join('\n')) : error;
  }
}
