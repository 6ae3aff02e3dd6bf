import { appOption, defineCommand, expectPositionals, jsonOption } from './command.ts';
import { chooseApp, withInstallation } from './installation.ts';
import { columns, exitCodes, print, printError, printJson, printRefusal, UsageError } from './output.ts';

const MAX_NAME_CHARS = 100;

export const createKey = defineCommand({
  name: 'keys create',
  positionals: '',
  description: `Makes an API key of an app. The key is printed this once and stored nowhere: stdout is the key alone,
so that a script can keep it, and what there is to say is on stderr. A running server takes it at once.`,
  options: {
    app: appOption,
    name: { type: 'string', value: 'NAME', help: 'what you will know it by, e.g. the service that uses it' },
    json: jsonOption,
  },
  examples: ['keys create --app default --name backend', 'keys create --app default --json'],
  async run({ app: named, name = '', json }, positionals) {
    expectPositionals('keys create', positionals);
    if (name.length > MAX_NAME_CHARS || /\p{Cc}/u.test(name))
      throw new UsageError(`--name has ${MAX_NAME_CHARS} visible characters at most`, 'keys create');
    return withInstallation('store', async (composed) => {
      const app = chooseApp(composed, named, 'keys create');
      const { key, kept } = await composed.countersign.keys.create({ app, name });
      if (json === true) {
        printJson({ id: kept.id, key, app, name });
        return exitCodes.done;
      }
      print(key);
      printError(`this is the key of app '${app}'; it is shown this once. Its id, for \`keys revoke\`: ${kept.id}`);
      return exitCodes.done;
    });
  },
});

export const listKeys = defineCommand({
  name: 'keys list',
  positionals: '',
  description:
    'Lists the API keys of all apps, oldest first. What is stored of a key is its digest, so no key is shown.',
  options: {
    app: { type: 'string', value: 'APP', help: 'only the keys of this app' },
    json: jsonOption,
  },
  async run({ app, json }, positionals) {
    expectPositionals('keys list', positionals);
    return withInstallation('store', async ({ countersign }) => {
      // Not only configured apps: the keys of one that is gone should be seen, and revoked.
      const keys = (await countersign.keys.list()).filter((key) => app === undefined || key.app === app);
      if (json === true) {
        printJson({
          keys: keys.map(({ id, app: itsApp, name, createdAt, revokedAt }) => ({
            id,
            app: itsApp,
            name,
            created_at: isoOf(createdAt),
            revoked_at: revokedAt === undefined ? undefined : isoOf(revokedAt),
          })),
        });
      } else if (keys.length === 0) {
        print(app === undefined ? 'There are no keys.' : `There are no keys of app '${app}'.`);
      } else {
        const rows = keys.map(({ id, app: itsApp, name, createdAt, revokedAt }) => [
          id,
          itsApp,
          name === '' ? '–' : name,
          isoOf(createdAt),
          revokedAt === undefined ? 'good' : `revoked ${isoOf(revokedAt)}`,
        ]);
        print(columns([['ID', 'APP', 'NAME', 'CREATED', 'STATE'], ...rows]));
      }
      return exitCodes.done;
    });
  },
});

export const revokeKey = defineCommand({
  name: 'keys revoke',
  positionals: '<id>',
  description: 'Makes an API key worthless. A running server refuses it within two seconds.',
  options: { json: jsonOption },
  examples: ['keys revoke key_01jd3n8v4kq2xw7c9r5t6y0abz'],
  async run({ json }, positionals) {
    const [id = ''] = expectPositionals('keys revoke', positionals, 'the id of a key');
    // It must not be looked up either: an id is printed and logged, and a key must not be.
    if (id.startsWith('cs_'))
      throw new UsageError('That is a key, not its id (key_…): find the id with `keys list`.', 'keys revoke');
    return withInstallation('store', async ({ countersign }) => {
      if (!(await countersign.keys.revoke(id)))
        return printRefusal({ code: 'not-found', detail: `There is no key ${id}; see \`keys list\`.` }, json === true);
      if (json === true) printJson({ id, revoked: true });
      else print(`Revoked ${id}. A running server refuses it within two seconds.`);
      return exitCodes.done;
    });
  },
});

export const rotateSigningKey = defineCommand({
  name: 'keys rotate-signing',
  positionals: '',
  description: `Makes a new key to sign tokens with. /.well-known/jwks.json shows it within ten seconds, and running servers sign
with it after twenty, when all of them know it. Tokens signed before stay valid: the older public keys are kept.`,
  options: { json: jsonOption },
  async run({ json }, positionals) {
    expectPositionals('keys rotate-signing', positionals);
    return withInstallation('store', async ({ countersign }) => {
      const kid = await countersign.tokens.rotate();
      if (json === true) printJson({ kid });
      else
        print(
          `New signing key: ${kid}\nTokens signed before stay valid. Running servers sign with it in twenty seconds, when all of them know it.`,
        );
      return exitCodes.done;
    });
  },
});

function isoOf(at: number): string {
  return new Date(at).toISOString();
}
