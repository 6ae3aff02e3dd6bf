import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseEnv } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ConfigError, type FileConfig, resolveConfig } from '../../src/config/load.ts';
import { dialects } from '../../src/http/dialects/index.ts';
import { providerDefinitions } from '../../src/providers/index.ts';
import { blocksOf, exampleSettings, follow } from './page.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string) => readFileSync(join(root, file), 'utf8');
/** All but library/, which starts no server and has a test of its own. */
const names = readdirSync(join(root, 'examples'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'library')
  .map(({ name }) => name);

describe('the pages of the examples', () => {
  const pages = [...names.map((name) => `examples/${name}/README.md`), 'docs/write-a-dialect.md'];

  it.each(pages)('%s: each command does what the page shows', { timeout: 120_000 }, async (page) => {
    const blocks = blocksOf(read(page));
    const lines = blocks.flatMap((block) => (block.kind === 'command' ? [block.line] : []));
    expect(lines[0]).toMatch(/^cd examples\//);
    expect(lines).toContain('npm start');
    expect(lines.filter((line) => line.startsWith('curl ')).length).toBeGreaterThan(1);
    await follow(blocks);
  });

  const withFragments = names.filter((name) => fences(read(`examples/${name}/README.md`), 'ts').length > 0);

  it.each(withFragments)('%s: what it says to write into the configuration is taken', async (name) => {
    for (const fragment of fences(read(`examples/${name}/README.md`), 'ts')) {
      // The page shows a key or two of a file: it is read as the inside of an object.
      const { providers = {}, ...ofApp } = new Function(`return { ${fragment} }`)() as Record<string, object>;
      const { apps = {} } = await configOf(name);
      const changed = Object.fromEntries(Object.entries(apps).map(([id, app]) => [id, { ...app, ...ofApp }]));
      expect(faultsOf({ providers: { ...providers }, apps: changed }, withCredentials(name))).toEqual([]);
    }
  });

  it.each(dialects.map(({ id }) => id))(
    '%s: its lines for nginx pass on the paths of the dialect, and no other',
    (name) => {
      const [block = ''] = fences(read(`examples/${name}/README.md`), 'nginx');
      const [, pattern = ''] = /^location ~ (\S+) \{$/m.exec(block) ?? [];
      const isPassedOn = (path: string) => new RegExp(pattern).test(path);
      const paths = dialects.map(({ id, routes }) => ({ id, paths: routes.flatMap(({ path }) => [path, `${path}/`]) }));
      for (const { id, paths: itsPaths } of paths)
        for (const path of itsPaths) expect([path, isPassedOn(path)]).toEqual([path, id === name]);
      expect(isPassedOn('/v1/reports/twilio/secret')).toBe(true);
      for (const path of ['/v1/verifications', '/v1/users/me', '/inbox', '/', '/api/v1/auth/login'])
        expect(isPassedOn(path)).toBe(false);
    },
  );
});

describe('.env.example', () => {
  /** What each system has in its environment today. */
  const today: Readonly<Record<string, readonly string[]>> = {
    'royal-taxi': ['TWILIO_ENABLED', 'TWILIO_ACCOUNT_SID', 'TWILIO_AUTH_TOKEN', 'TWILIO_PHONE_NUMBER'],
    marque: ['TWILIO_ACCOUNT_SID', 'TWILIO_AUTH_TOKEN', 'TWILIO_VERIFY_SERVICE_SID'],
    mgask: ['TWILIO_ACCOUNT_SID', 'TWILIO_AUTH_TOKEN', 'TWILIO_PHONE_NUMBER'],
    chaski: ['TWILIO_ACCOUNT_SID', 'TWILIO_AUTH_TOKEN', 'TWILIO_PHONE_NUMBER', 'TWILIO_VERIFY_SERVICE_SID'],
    'messaggio-backend': ['MESSAGGIO_API_KEY'],
  };

  it.each(Object.entries(today))('of %s has the names that the old back end reads', (name, variables) => {
    expect(Object.keys(withCredentials(name))).toEqual(expect.arrayContaining([...variables]));
  });

  it('of all five systems has what each of them has', () => {
    const ofAll = Object.keys(uncommented('five-systems'));
    const ofEach = Object.keys(today).flatMap((name) => Object.keys(uncommented(name)));
    // Fine points of one provider alone are on its own page.
    const fine = ['ESKIZ_FROM', 'PLAYMOBILE_ORIGINATOR', 'LOG_FILE'];
    expect([...new Set(ofEach)].filter((variable) => !ofAll.includes(variable) && !fine.includes(variable))).toEqual(
      [],
    );
  });

  it.each(names)('of %s starts in development, without any account, when it is copied as it is', async (name) => {
    const config = resolveConfig(await configOf(name), exampleSettings(`examples/${name}`), providerDefinitions, root);
    expect(config.mode).toBe('development');
    expect(config.providers).toEqual([]);
  });

  it.each(names)('of %s has values of the right form, and a secret that nobody can go live with', async (name) => {
    expect(faultsOf(await configOf(name), uncommented(name))).toEqual([
      expect.stringMatching(/^COUNTERSIGN_SECRET is too short: at least 32 bytes/),
    ]);
  });
});

/** With every line that is commented out; its switches are on. */
function uncommented(name: string): NodeJS.Dict<string> {
  const settings = parseEnv(read(`examples/${name}/.env.example`).replaceAll(/^#(?=[A-Z][A-Z0-9_]*=)/gm, ''));
  return 'TWILIO_ENABLED' in settings ? { ...settings, TWILIO_ENABLED: 'true' } : settings;
}

/** Credentials of every provider, as the pages show them, in development. */
function withCredentials(name: string): NodeJS.Dict<string> {
  const { COUNTERSIGN_MODE: _, COUNTERSIGN_SECRET: __, ...settings } = uncommented(name);
  return {
    ...settings,
    VONAGE_API_KEY: 'key',
    VONAGE_API_SECRET: 'secret',
    VONAGE_FROM: 'Marque',
    SA_ACCOUNT_SID: `AC${'1'.repeat(32)}`,
    SA_AUTH_TOKEN: 'token',
    SA_PHONE_NUMBER: '+15005550006',
  };
}

async function configOf(name: string): Promise<FileConfig> {
  const file = join(root, 'examples', name, 'countersign.config.ts');
  return ((await import(pathToFileURL(file).href)) as { default: FileConfig }).default;
}

function faultsOf(config: FileConfig, environment: NodeJS.Dict<string>): readonly string[] {
  try {
    resolveConfig(config, environment, providerDefinitions, root);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
}

function fences(page: string, language: string): string[] {
  return [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].flatMap(([, name, body = '']) =>
    name === language ? [body] : [],
  );
}
