import { createHash } from 'node:crypto';
import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import { nearestTo } from '../domain/nearest.ts';
import type { Dialect } from '../http/dialects/dialect.ts';
import { dialects } from '../http/dialects/index.ts';
import type { MountedDialect } from '../http/dialects/mount.ts';
import type { App } from '../service/app.ts';
import { faultsOf, isRecord } from './faults.ts';
import type { NamedVariables } from './variables.ts';

/** Not one of the list: it is a whole API with credentials of its own. */
const TWILIO_VERIFY = 'twilio-verify';

const closed = { additionalProperties: false } as const;

/** Segments, as routers take them literally: no parameters, no slash at the end. */
const PATH = '^(/[A-Za-z0-9._~-]+)+$';

const Options = Type.Object(
  {
    prefix: Type.Optional(
      Type.String({
        pattern: PATH,
        description: 'before its paths, for a second app that speaks it',
      }),
    ),
    allowedOrigins: Type.Array(Type.String({ pattern: '^(\\*|https?://[^/\\s?#@]+)$' }), {
      maxItems: 100,
      default: [],
      description: 'whose pages may call it from a browser, e.g. https://shop.example.com; * for all',
    }),
    shadow: Type.Optional(
      Type.Object(
        { upstream: Type.String({ pattern: '^https?://[^\\s?#@]+$', description: 'the old back end' }) },
        closed,
      ),
    ),
  },
  closed,
);

const VerifyOptions = Type.Object(
  {
    accountSid: Type.Optional(Type.String({ pattern: '^AC[0-9a-fA-F]{32}$' })),
    services: Type.Array(Type.String({ pattern: '^VA[0-9a-fA-F]{32}$' }), {
      maxItems: 100,
      default: [],
      description: 'sids that callers name already: services of them are made at the start',
    }),
    authToken: Type.Optional(
      Type.String({
        minLength: 16,
        secret: true,
        description: 'besides the API keys of the app, which are good as well',
      }),
    ),
  },
  closed,
);

/** A dialect by its name or as it was defined, alone or with what it is told. */
export type DialectSetting = DialectEntry | readonly DialectEntry[];
type DialectEntry = string | Dialect | ({ readonly dialect: string | Dialect } & DialectOptions);
export type DialectOptions = Partial<Static<typeof Options>> & Partial<Static<typeof VerifyOptions>>;

export type ResolvedDialects = {
  readonly mounted: readonly MountedDialect[];
  readonly twilioVerify: App['twilioVerify'];
};

/** The dialects that an app speaks; what is wrong with them goes into `faults`. */
export function resolveDialects(
  app: string,
  setting: unknown,
  variables: NamedVariables,
  faults: string[],
): ResolvedDialects {
  const mounted: MountedDialect[] = [];
  let twilioVerify: App['twilioVerify'];
  const entries = setting === undefined ? [] : Array.isArray(setting) ? setting : [setting];
  for (const [index, entry] of entries.entries()) {
    const place = `apps.${app}.dialect${Array.isArray(setting) ? `.${index}` : ''}`;
    const { dialect: named, ...given } =
      isRecord(entry) && 'dialect' in entry ? entry : ({ dialect: entry } as Record<string, unknown>);
    const options = variables.fill(given, place, faults);
    if (named === TWILIO_VERIFY) {
      if (twilioVerify !== undefined) faults.push(`${place} is ${TWILIO_VERIFY} a second time: an app has one account`);
      const filled = Value.Default(VerifyOptions, Value.Clone(options)) as Static<typeof VerifyOptions>;
      const found = faultsOf(VerifyOptions, filled, place);
      faults.push(...found);
      if (found.length === 0) twilioVerify = verifyAccount(app, filled);
      continue;
    }
    const dialect = isDialect(named) ? named : dialects.find(({ id }) => id === named);
    if (dialect === undefined) {
      const known = [...dialects.map(({ id }) => id), TWILIO_VERIFY];
      const name = typeof named === 'string' ? named : '';
      faults.push(`${place} is ${wordFor(named)}, which is no dialect${nearestTo(name, known)}`);
      continue;
    }
    const filled = Value.Default(Options, Value.Clone(options)) as Static<typeof Options>;
    const found = [...faultsOf(Options, filled, place), ...routeFaults(place, dialect)];
    faults.push(...found);
    if (found.length > 0) continue;
    const { prefix = '', allowedOrigins, shadow } = filled;
    const upstream = shadow?.upstream.replace(/\/+$/, '');
    mounted.push({ app, dialect, prefix, allowedOrigins: new Set(allowedOrigins), upstream });
  }
  return { mounted, twilioVerify };
}

/** Of a dialect of one's own: what a router would stop the start for, with a stack trace. */
function routeFaults(place: string, { id, routes }: Dialect): string[] {
  const requests = routes.map(({ method = 'POST', path }) => `${method} ${path}`);
  const twice = new Set(requests.filter((request, index) => requests.indexOf(request) !== index));
  const odd = routes.filter(({ path }) => !new RegExp(PATH).test(path));
  return [
    ...[...twice].map((request) => `${place}: the dialect ${id} has ${request} twice`),
    ...odd.map(({ path }) => `${place}: the dialect ${id} has the path ${path}, which does not have the form ${PATH}`),
  ];
}

/** Two apps that speak dialects at the same path: nobody could tell whose request it is. */
export function pathFaults(mounted: readonly MountedDialect[]): string[] {
  const faults: string[] = [];
  const owners = new Map<string, MountedDialect>();
  const told = new Set<MountedDialect>();
  for (const each of mounted) {
    for (const { path } of each.dialect.routes) {
      const url = each.prefix + path;
      const other = owners.get(url) ?? each;
      owners.set(url, other);
      if (other === each || told.has(each)) continue;
      told.add(each);
      const { id } = each.dialect;
      faults.push(
        `apps.${other.app} and apps.${each.app} both speak at ${url}: give one of them a prefix, { dialect: '${id}', prefix: '/${each.app}' }`,
      );
    }
  }
  return faults;
}

/** Routes for signed-in callers, and nothing to tell by who is signed in. */
export function callerFaults(mounted: readonly MountedDialect[], apps: ReadonlyMap<string, App>): string[] {
  return mounted.flatMap(({ app, dialect }) =>
    apps.get(app)?.bearer === undefined && dialect.routes.some(({ signedIn }) => signedIn)
      ? [`apps.${app}.bearer is missing: the dialect ${dialect.id} has routes for signed-in callers`]
      : [],
  );
}

/** Which app is calling is said by the account alone. */
export function accountFaults(apps: ReadonlyMap<string, App>): string[] {
  const owners = new Map<string, string>();
  return [...apps.values()].flatMap(({ id, twilioVerify }) => {
    if (twilioVerify === undefined) return [];
    const owner = owners.get(twilioVerify.accountSid);
    owners.set(twilioVerify.accountSid, id);
    return owner === undefined ? [] : [`apps.${owner} and apps.${id} have the same accountSid: give each its own`];
  });
}

/** Of an object its keys alone: its values may be secret. */
function wordFor(value: unknown): string {
  if (typeof value === 'string' && value !== '') return value.slice(0, 60);
  if (Array.isArray(value)) return 'a list';
  return isRecord(value)
    ? `an object with ${Object.keys(value).join(', ') || 'nothing'}`
    : String(JSON.stringify(value));
}

function isDialect(value: unknown): value is Dialect {
  return (
    isRecord(value) && typeof value['id'] === 'string' && Array.isArray(value['routes']) && isRecord(value['framework'])
  );
}

function verifyAccount(
  app: string,
  { accountSid, authToken, services }: Static<typeof VerifyOptions>,
): App['twilioVerify'] {
  return {
    accountSid: accountSid ?? `AC${createHash('sha256').update(`countersign app ${app}`).digest('hex').slice(0, 32)}`,
    authToken,
    services,
  };
}
