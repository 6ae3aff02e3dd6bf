import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseEnv } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Environment } from '../../src/config/config.ts';
import { ConfigError, loadConfig, resolveConfig } from '../../src/config/load.ts';
import { AppSchema, CommonProviderSchema, FileSchema } from '../../src/config/schema.ts';
import { providerDefinitions } from '../../src/providers/index.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string) => readFileSync(join(root, file), 'utf8');

/** Credentials of the right form, so that a document's configuration is whole. */
const credentials: Environment = {
  TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
  TWILIO_AUTH_TOKEN: 'token',
  TWILIO_PHONE_NUMBER: '+15005550006',
  TWILIO_VOICE_FROM: '+15005550006',
  ESKIZ_EMAIL: 'test@example.com',
  ESKIZ_PASSWORD: 'secret',
  PLAYMOBILE_LOGIN: 'login',
  PLAYMOBILE_PASSWORD: 'password',
  TELEGRAM_TOKEN: 'gateway-token',
  ACME_API_KEY: 'key',
  US_ACCOUNT_SID: `AC${'1'.repeat(32)}`,
  US_AUTH_TOKEN: 'token',
};

describe('.env.example', () => {
  const example = read('.env.example');
  const uncommented = example.replaceAll(/^#(?=[A-Z][A-Z0-9_]*=)/gm, '');
  const named = Object.keys(parseEnv(uncommented));
  // `<PROVIDER>_…` stands for a variable of each provider.
  const general = [...example.matchAll(/^#<PROVIDER>(_[A-Z_]+)=\S+$/gm)].map(([, suffix = '']) => suffix);
  const prefixes = providerDefinitions.map(({ id }) => id.toUpperCase().replaceAll('-', '_'));
  const ofEveryProvider = prefixes.flatMap((prefix) => general.map((suffix) => prefix + suffix));

  it('names every variable that is read, and no other', () => {
    const read = variablesRead();
    expect([...read].filter((name) => !named.includes(name) && !ofEveryProvider.includes(name)).toSorted()).toEqual([]);
    expect([...named, ...ofEveryProvider].filter((name) => !read.has(name)).toSorted()).toEqual([]);
  });

  it('has the variables that every provider has in one place', () => {
    const settings = Object.keys(CommonProviderSchema.properties).map(
      (key) => `_${key.replaceAll(/[A-Z]/g, '_$&').toUpperCase()}`,
    );
    expect(general.toSorted()).toEqual(['_ENABLED', ...settings].toSorted());
  });

  it('sets nothing when it is copied as it is', () => {
    expect(parseEnv(example)).toEqual({});
  });

  it('has values of the right form, and a secret that nobody can go live with', () => {
    expect(faultsWith(parseEnv(uncommented))).toEqual([
      expect.stringMatching(/^COUNTERSIGN_SECRET is too short: at least 32 bytes/),
    ]);
  });
});

describe('links in documents', () => {
  it('lead somewhere', async () => {
    const broken: string[] = [];
    for (const file of await documents()) {
      for (const target of linksOf(read(file))) {
        const [path = '', anchor] = decodeURI(target).split('#');
        const wanted = path === '' ? join(root, file) : resolve(root, dirname(file), path);
        if (!existsSync(wanted)) broken.push(`${file}: ${target}`);
        else if (anchor !== undefined && !anchorsOf(readFileSync(wanted, 'utf8')).includes(anchor))
          broken.push(`${file}: ${target} (no such heading)`);
      }
    }
    expect(broken).toEqual([]);
  });
});

describe('docs/dependencies.md', () => {
  const rows = tableRows(read('docs/dependencies.md'));
  const { dependencies, optionalDependencies, devDependencies } = JSON.parse(read('package.json')) as Record<
    'dependencies' | 'optionalDependencies' | 'devDependencies',
    Record<string, string>
  >;
  const all = { ...dependencies, ...optionalDependencies, ...devDependencies };

  it('has a line for each dependency, and none for what is none', () => {
    expect(rows.map(([name]) => name).toSorted()).toEqual(Object.keys(all).toSorted());
  });

  it('says the licence that the package says', () => {
    const said = Object.fromEntries(rows.map(([name = '', , , licence]) => [name, licence]));
    const theirs = Object.keys(all).map((name) => [
      name,
      (JSON.parse(read(`node_modules/${name}/package.json`)) as { license: string }).license,
    ]);
    expect(said).toEqual(Object.fromEntries(theirs));
  });

  it('names the versions that are pinned for a reason', () => {
    const pins = [...read('docs/dependencies.md').matchAll(/^- (`@biomejs.*)$/gm)].map(([, line]) => line).join();
    for (const name of ['@biomejs/biome', 'knip']) expect(pins).toContain(`\`${name}\` ${all[name]}`);
  });
});

describe('docs/configuration.md', () => {
  const page = read('docs/configuration.md');
  const installation = section(page, 'The installation');
  const [app = ''] = section(page, 'An app').split('\n### ');

  it('has the keys, defaults and bounds of an app as the schema has them', () => {
    const shown = tableRows(app).map(([key, byDefault, bounds]) => [key, byDefault, bounds]);
    expect(shown).toEqual(keysOf(AppSchema as unknown as Schema).map((key) => [key.name, key.byDefault, key.bounds]));
  });

  it('has the keys and bounds of the installation as the schema has them', () => {
    const shown = tableRows(installation).map(([key, , , bounds]) => [key, bounds]);
    expect(shown).toEqual(keysOf(FileSchema as unknown as Schema).map((key) => [key.name, key.bounds]));
  });

  it('has the defaults of the installation as they come out', () => {
    const shown = Object.fromEntries(tableRows(installation).map(([key = '', , byDefault]) => [key, byDefault]));
    const { mode, host, port, dataDir, logLevel, retentionMs } = resolveConfig({}, {}, providerDefinitions, root);
    expect(shown).toMatchObject({
      mode,
      host,
      port: String(port),
      dataDir: relative(root, dataDir),
      logLevel,
      retentionDays: String(retentionMs / 86_400_000),
    });
  });

  it('names the variable of each key', () => {
    const source = read('src/config/load.ts');
    const filled = Object.fromEntries(
      [...source.matchAll(/^ {2}([A-Z_]+): '(\w+)',$/gm)].map(([, variable, key]) => [key, variable]),
    );
    for (const [key = '', variable = ''] of tableRows(installation)) {
      if (key !== 'providers' && key !== 'apps') expect(`${key}: ${variable}`).toBe(`${key}: ${filled[key] ?? '–'}`);
    }
    for (const key of ['brand', 'country', 'locale', 'routes']) expect(installation).toContain(`\`${filled[key]}\``);
  });

  it('has the keys, variables, defaults and bounds of every provider as the schema has them', () => {
    const keys = keysOf(CommonProviderSchema as unknown as Schema);
    const shown = tableRows(section(page, 'Every provider', 3));
    expect(shown.map(([key, variable, byDefault, bounds]) => [key, variable, byDefault, bounds])).toEqual(
      keys.map(({ name, byDefault, bounds }) => [
        name,
        `<PROVIDER>_${name.replaceAll(/[A-Z]/g, '_$&').toUpperCase()}`,
        byDefault,
        bounds,
      ]),
    );
  });

  it('has the keys, defaults and bounds of a price as the schema has them', () => {
    const prices = FileSchema.properties.prices as unknown as Schema;
    const shown = tableRows(section(page, 'Prices')).map(([key, byDefault, bounds]) => [key, byDefault, bounds]);
    expect(shown).toEqual(keysOf(prices.items ?? {}).map((key) => [key.name, key.byDefault, key.bounds]));
  });

  it('has the keys and bounds of an entry of a route as the schema has them', () => {
    const [list] = Object.values((AppSchema.properties.routes as unknown as Schema).patternProperties ?? {});
    const entry = list?.items?.anyOf?.find(({ properties }) => properties !== undefined);
    const shown = tableRows(section(page, 'Routes', 3)).map(([key, bounds]) => [key, bounds]);
    expect(shown).toEqual(keysOf(entry ?? {}).map((key) => [key.name, key.bounds]));
    expect(section(page, 'Routes', 3)).toContain(`${list?.maxItems} entries`);
  });

  it('says the bounds of a rule, and how long it remembers', () => {
    const rule = (AppSchema.properties.limits as unknown as Schema).properties?.['perApp']?.items?.properties;
    expect(app).toContain(
      `\`max\` is ${boundsOf(rule?.['max'])}, \`windowSeconds\` ${boundsOf(rule?.['windowSeconds'])}`,
    );
  });
});

describe('README.md', () => {
  const page = read('README.md');

  it('has the defaults as the schema has them', () => {
    const defaults = new Map(keysOf(AppSchema as unknown as Schema).map(({ name, byDefault }) => [name, byDefault]));
    const shown = tableRows(section(page, 'Limits and defaults'));
    expect(shown.length).toBeGreaterThan(8);
    for (const [key = '', byDefault] of shown) expect([key, byDefault]).toEqual([key, defaults.get(key)]);
  });

  it('leads to the page of each provider, and to no other', () => {
    const pages = linksOf(section(page, 'Providers')).flatMap(
      (link) => /^docs\/providers\/(.+)\.md$/.exec(link)?.[1] ?? [],
    );
    expect(pages.toSorted()).toEqual(providerDefinitions.map(({ id }) => id).toSorted());
  });

  it('shows the example of the library as it runs', () => {
    const [, shown] = /^```ts\n(import \{ createCountersign \}[\s\S]*?)^```$/m.exec(page) ?? [];
    const runs = read('examples/library/main.ts').replace(/^\/\/.*\n/, '');
    expect(shown).toBe(runs.replace('../../src/index.ts', 'countersign'));
  });

  it('names every path of the API, and no other', async () => {
    const cells = tableRows(section(page, 'HTTP API')).map(([cell = '']) => cell);
    const shown = cells.flatMap((cell) => cell.match(/\/[^\s,]+/g) ?? []);
    const { origin, stop } = await startServer();
    try {
      const { paths } = (await (await fetch(`${origin}/openapi.json`)).json()) as { paths: object };
      const undescribed = ['/metrics', '/openapi.json', '/docs'];
      expect([...new Set(shown)].toSorted()).toEqual([...Object.keys(paths), ...undescribed].toSorted());
    } finally {
      await stop();
    }
  });
});

describe('the first screen of the README', () => {
  const [first = ''] = read('README.md').split(/^## /m);
  let server: Awaited<ReturnType<typeof startServer>>;

  beforeAll(async () => {
    server = await startServer();
  });

  afterAll(() => server.stop());

  it('shows what the server says at its start', () => {
    const [shown = ''] = fences(first, 'text');
    for (const line of shown.split('\n').filter(Boolean)) {
      expect(server.printed()).toContain(line.replace('http://127.0.0.1:8080', server.origin));
    }
  });

  it('has curl lines that give the answers it shows', async () => {
    const [session = ''] = fences(first, 'console');
    const steps = [...session.matchAll(/^\$ (.*)\n(.*)$/gm)].map(([, line = '', answer = '']) => ({ line, answer }));
    expect(steps.length).toBe(3);
    const shownFirst = JSON.parse(steps[0]?.answer ?? '') as Answer;
    let real: Answer = {};
    for (const { line, answer } of steps) {
      // The id and the code are others each time; a code that is shown to be wrong has to stay wrong.
      const isRight = line.includes(String(shownFirst['code']));
      const replaced = line
        .replace('http://127.0.0.1:8080', server.origin)
        .replace(String(shownFirst['id']), String(real['id']))
        .replace(/(?<="code":")\d+/, isRight ? String(real['code']) : wrong(String(real['code'])));
      const got = await curl(replaced);
      const shown = JSON.parse(answer) as Answer;
      expect(shapeOf(got)).toEqual(shapeOf(shown));
      if (typeof got['id'] === 'string') real = { ...real, ...got };
    }
  });
});

describe('configurations in documents', () => {
  it.each(['README.md', 'docs/configuration.md', 'docs/routing.md'])('of %s are taken as they stand', async (file) => {
    const sources = [
      ...fences(read(file), 'ts')
        .filter((source) => source.includes('export default'))
        .map((source) => ({ name: 'countersign.config.ts', source: withAbsoluteImports(source) })),
      ...fences(read(file), 'yaml').map((source) => ({ name: 'countersign.config.yaml', source })),
    ];
    expect(sources.length).toBeGreaterThan(0);
    for (const { name, source } of sources) {
      const directory = await mkdtemp(join(tmpdir(), 'countersign-docs-'));
      try {
        await writeFile(join(directory, name), source);
        const config = await loadConfig(directory, credentials, providerDefinitions);
        expect(config.apps.size).toBeGreaterThan(0);
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    }
  });
});

describe('docs/routing.md', () => {
  const page = read('docs/routing.md');

  it('has the answer that its configuration gives', async () => {
    const [config = ''] = fences(page, 'ts');
    const [session = ''] = fences(page, 'console');
    const [, line = '', answer = ''] = /^\$ (.*)\n([\s\S]*)$/.exec(session) ?? [];
    const server = await startServer({ 'countersign.config.ts': withAbsoluteImports(config) }, credentials);
    try {
      const got = await curl(line.replace('http://127.0.0.1:8080', server.origin));
      // The two with weights come in either order.
      const isSame = [got, swapped(got)].some((each) => JSON.stringify(each) === JSON.stringify(JSON.parse(answer)));
      expect(isSame ? JSON.parse(answer) : got).toEqual(JSON.parse(answer));
    } finally {
      await server.stop();
    }
  });
});

// --- What is read of the code

/** Every variable that the configuration looks at, found by letting it look. */
function variablesRead(): Set<string> {
  const asked = new Set<string>();
  const listening = new Proxy<Record<string, string>>(
    {},
    {
      get(_, name) {
        asked.add(String(name));
        return undefined;
      },
    },
  );
  resolveConfig({}, listening, providerDefinitions, root);
  // Some are looked up only for a provider that is configured.
  const providers = Object.fromEntries(providerDefinitions.map(({ id }) => [id, {}]));
  expect(() => resolveConfig({ providers }, listening, providerDefinitions, root)).toThrow(ConfigError);
  // Looked up before the rest; the sentence about a variable that does not exist names all that begin like it.
  const [sentence = ''] = faultsWith({ COUNTERSIGN_SOMETHING_QUITE_DIFFERENT: '1' });
  for (const name of sentence.match(/COUNTERSIGN_\w+/g)?.slice(1) ?? []) asked.add(name);
  return asked;
}

function faultsWith(environment: Environment): readonly string[] {
  try {
    resolveConfig({}, environment, providerDefinitions, root);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
}

/** As much of JSON Schema as the configuration uses. */
type Schema = {
  readonly type?: string | readonly string[];
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minProperties?: number;
  readonly pattern?: string;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
};

type Key = { readonly name: string; readonly byDefault: string; readonly bounds: string };

/** The keys of a schema as the tables of the documents write them, those of objects behind a dot. */
function keysOf({ properties = {} }: Schema): Key[] {
  return Object.entries(properties).flatMap(([name, schema]) =>
    schema.properties === undefined || Array.isArray(schema.type)
      ? [{ name, byDefault: defaultOf(schema), bounds: boundsOf(schema) }]
      : keysOf(schema).map((key) => ({ ...key, name: `${name}.${key.name}` })),
  );
}

function defaultOf({ default: value }: Schema): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return '–';
  if (Array.isArray(value)) {
    const isRules = value.some((item) => typeof item === 'object');
    return value.map((item) => (isRules ? `${item.max} in ${item.windowSeconds} s` : String(item))).join(', ');
  }
  return typeof value === 'object' ? '–' : String(value);
}

/** What the patterns of the schema are called in a document. */
const patterns: Readonly<Record<string, string>> = {
  '^[A-Z]{2}$': 'country, as UZ',
  '^([A-Z]{2}|\\*)$': 'country, or *',
  '^[A-Z]{3}$': 'currency, as USD',
  '^\\d{4}-\\d{2}-\\d{2}$': 'day, as 2026-11-20',
  '^[a-z0-9][a-z0-9-]{0,62}$': 'name',
  '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$': 'language, as ru or pt-BR',
  '^https?://[^\\s?#]+$': 'http or https address',
};

const keyPatterns: Readonly<Record<string, string>> = {
  '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$': 'by language',
  '^([A-Z]{2}|\\+[1-9][0-9]{0,11}|\\*)$': 'by prefix, country or *',
  '^[A-Z]{3}$': 'by currency',
  '^[a-z0-9][a-z0-9-]{0,62}$': 'by name',
  '^[A-Z][A-Z0-9-]{0,15}$': 'by name, as KG',
};

function boundsOf(schema: Schema | undefined): string {
  if (schema === undefined) throw new Error('there is no such key');
  const { enum: words, minimum, maximum, minLength, maxLength, minItems, maxItems, items, pattern } = schema;
  if (words !== undefined) return words.join(', ');
  if (schema.type === 'boolean') return 'true, false';
  if (minimum !== undefined) return `${minimum} to ${maximum}`;
  if (schema.exclusiveMinimum !== undefined)
    return `above ${schema.exclusiveMinimum}${maximum === undefined ? '' : `, up to ${maximum}`}`;
  if (Array.isArray(schema.type)) return `${pattern?.slice(1, -1)}, or an object`;
  if (pattern !== undefined) {
    const name = patterns[pattern] ?? pattern;
    return `${name.startsWith('http') ? 'an' : 'a'} ${name}`;
  }
  if (schema.patternProperties !== undefined) {
    const [[key, value] = ['', {}]] = Object.entries(schema.patternProperties);
    const least = schema.minProperties === undefined ? '' : `, at least ${schema.minProperties}`;
    const each = value.exclusiveMinimum === undefined ? '' : `, each ${boundsOf(value)}`;
    return `${keyPatterns[key] ?? key}${least}${each}`;
  }
  if (items?.properties !== undefined) return `up to ${maxItems} ${'max' in items.properties ? 'rules' : 'rows'}`;
  if (items?.enum !== undefined) return `at least ${minItems} of ${boundsOf(items)}`;
  if (items?.minimum !== undefined)
    return `${minItems} to ${maxItems} numbers, each ${items.minimum} to ${items.maximum}`;
  if (items?.pattern !== undefined) return `at least ${minItems} ${patterns[items.pattern] ?? items.pattern}`;
  if (items !== undefined) return maxItems === undefined ? 'a list of texts' : `up to ${maxItems} texts`;
  if (maxLength !== undefined) return `${minLength} to ${maxLength} characters`;
  return minLength === undefined ? '–' : `at least ${minLength} character`;
}

// --- What is read of the documents

async function documents(): Promise<string[]> {
  const skipped = new Set(['node_modules', 'dist', 'data', 'coverage', '.git']);
  const found: string[] = [];
  async function walk(directory: string): Promise<void> {
    for (const entry of await readdir(join(root, directory), { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory() && !skipped.has(entry.name)) await walk(path);
      else if (entry.name.endsWith('.md')) found.push(path);
    }
  }
  await walk('.');
  return found;
}

/** Links and pictures that do not lead out of the repository. */
function linksOf(page: string): string[] {
  const targets = [...withoutCode(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return targets.filter((target) => !/^[a-z][a-z+.-]*:/i.test(target));
}

/** The names that a page's headings can be linked by. */
function anchorsOf(page: string): string[] {
  return [...withoutCode(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

function withoutCode(page: string): string {
  return page.replaceAll(/^```[\s\S]*?^```$/gm, '');
}

function fences(page: string, language: string): string[] {
  return [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].flatMap(([, name, body = '']) =>
    name === language ? [body] : [],
  );
}

/** What stands below a heading of that level, up to the next one of its own level or above. */
function section(page: string, heading: string, level = 2): string {
  const [, rest = ''] = page.split(`\n${'#'.repeat(level)} ${heading}\n`);
  return rest.split(new RegExp(`\\n#{2,${level}} `))[0] ?? '';
}

/** The cells of all tables, without their heads; without the marks of code. */
function tableRows(page: string): string[][] {
  const rows = [...page.matchAll(/^\|(.*)\|$/gm)].map(([, row = '']) =>
    row.split('|').map((cell) => cell.trim().replaceAll('`', '')),
  );
  const rules = rows.flatMap((row, index) => (row.every((cell) => /^:?-+:?$/.test(cell)) ? [index] : []));
  return rows.filter((_, index) => !rules.includes(index) && !rules.includes(index + 1));
}

function withAbsoluteImports(source: string): string {
  return source
    .replace("'./src/index.ts'", `'${pathToFileURL(join(root, 'src/index.ts')).href}'`)
    .replace("'typebox'", `'${import.meta.resolve('typebox')}'`);
}

// --- The server, as a process of its own, and curl

type Answer = Record<string, unknown>;

async function startServer(
  files: Readonly<Record<string, string>> = {},
  environment: Environment = {},
): Promise<{ origin: string; printed: () => string; stop: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'countersign-docs-'));
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
  const server: ChildProcess = spawn(process.execPath, [join(root, 'src/cli/main.ts'), 'serve'], {
    // Away from the developer's own .env and configuration file, and without their variables.
    cwd: directory,
    env: { ...environment, PATH: process.env['PATH'], DATA_DIR: directory, PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  const origin = await new Promise<string>((resolveOrigin, reject) => {
    const note = (chunk: Buffer) => {
      printed += chunk.toString();
      const [, found] = /is ready: (\S+)\n[\s\S]*Send a code/.exec(printed) ?? [];
      if (found !== undefined) resolveOrigin(found);
    };
    server.stdout?.on('data', note);
    server.stderr?.on('data', note);
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}:\n${printed}`)));
  });
  return {
    origin,
    printed: () => printed,
    async stop() {
      const ended = new Promise((resolveEnd) => server.once('exit', resolveEnd));
      server.kill('SIGTERM');
      await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Does what curl would do with the options that the documents use, on machines without curl too. */
async function curl(line: string): Promise<Answer> {
  const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
  const headers: Record<string, string> = {};
  let url = '';
  let body: string | undefined;
  expect(words.shift()).toBe('curl');
  while (words.length > 0) {
    const word = words.shift() ?? '';
    if (word === '-s') continue;
    if (word === '-H') {
      const [name = '', value = ''] = (words.shift() ?? '').split(': ');
      headers[name] = value;
    } else if (word === '-d') body = words.shift();
    else if (word.startsWith('http')) url = word;
    else throw new Error(`this test does not know curl's ${word}`);
  }
  const answer = await fetch(url, { headers, ...(body === undefined ? {} : { method: 'POST', body }) });
  const json = (await answer.json()) as Answer;
  if ('code' in json && 'title' in json) expect(answer.status).toBe(json['status']);
  return json;
}

/** The answer with the first two ways of a route in the other order. */
function swapped(answer: Answer): Answer {
  const [first, second, ...others] = answer['tried'] as unknown[];
  return { ...answer, tried: [second, first, ...others] };
}

/** Keys in their order, with their values where these are always the same. */
function shapeOf(answer: Answer): [string, unknown][] {
  const changing = ['id', 'created_at', 'expires_at', 'resend_at', 'token'];
  const isCodeOfPerson = (key: string, value: unknown) => key === 'code' && /^\d+$/.test(String(value));
  return Object.entries(answer).map(([key, value]) => [
    key,
    changing.includes(key) || isCodeOfPerson(key, value) ? typeof value : value,
  ]);
}

function wrong(code: string): string {
  return String((Number(code) + 1) % 10 ** code.length).padStart(code.length, '0');
}
