import type { IncomingHttpHeaders } from 'node:http';
import { fileURLToPath } from 'node:url';
import { compose } from '../../../src/compose.ts';
import type { Environment } from '../../../src/config/config.ts';
import type { FileConfig } from '../../../src/config/load.ts';
import { simulatorDefinitions } from '../../../src/simulators/index.ts';
import type { Simulator, SimulatorOptions } from '../../../src/simulators/simulator-kit.ts';
import { startTwilioVerify } from '../../../src/simulators/twilio-verify.ts';
import { type RunningServer, SECRET, startServer } from '../running-server.ts';
import { makeDataDir, removeDataDir, type ServerProcess, serveInProcess } from '../server-process.ts';

export type DialectAnswer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** as JSON; undefined when it is none */
  readonly body: unknown;
};

export type Vendor = 'twilio' | 'twilio-verify' | 'eskiz' | 'playmobile' | 'messaggio' | 'smtp';

type Setup = {
  /** the default export of an example's `countersign.config.ts` */
  readonly config: FileConfig;
  readonly mode?: 'development' | 'production';
  /** Simulators to start; their addresses and credentials are in the environment then. */
  readonly vendors?: readonly Vendor[];
  /** wins over that of the simulators */
  readonly environment?: Environment;
};

type Headers = Readonly<Record<string, string>>;

export type DialectBench = Pick<RunningServer, 'origin' | 'call' | 'clock' | 'logged' | 'composed'> & {
  /** @param body sent as JSON, a text or bytes as they are, nothing when undefined */
  post(path: string, body?: unknown, headers?: Headers): Promise<DialectAnswer>;
  request(method: string, path: string, body?: unknown, headers?: Headers): Promise<DialectAnswer>;
  /** @throws when the setup does not name it */
  simulator(vendor: Vendor): Simulator;
  /** The newest message to a number, to the letter: from whichever simulator took it, else from the inbox. */
  textTo(number: string): string;
  codeFor(number: string): string;
  /** One round of housekeeping, by a process that is opened for it and closed when it is through. */
  housekeep(): Promise<void>;
  /** Every answer so far with its headers, and every line of the log: where a code could get out. */
  said(): string;
  close(): Promise<void>;
};

/** The service with an example's configuration on a free port, and its vendors on this machine. */
export async function startBench({
  config,
  mode = 'development',
  vendors = [],
  environment = {},
}: Setup): Promise<DialectBench> {
  let server: RunningServer | undefined;
  const now = () => server?.clock.now ?? Date.now();
  /** In the order in which they were taken, whoever took them. */
  const taken: { readonly to: string; readonly text: string }[] = [];
  const simulators = await startSimulators(vendors, { now, onMessage: (message) => void taken.push(message) });
  const started = await startServer({
    file: { providers: {}, ...config, mode },
    environment: { ...environmentOf(simulators), ...environment },
  });
  server = started;
  const heard: string[] = [];

  async function request(method: string, path: string, body?: unknown, headers?: Headers): Promise<DialectAnswer> {
    const answer = await started.call(method, path, { body, ...(headers === undefined ? {} : { headers }) });
    heard.push(`${answer.status} ${JSON.stringify(answer.headers)} ${answer.text}`);
    return { status: answer.status, headers: answer.headers, body: parsed(answer.text) };
  }

  function textTo(number: string): string {
    const message =
      taken.findLast(({ to }) => to === number) ?? started.composed.inbox?.list().find(({ to }) => to === number);
    if (message === undefined) throw new Error(`nothing was sent to ${number}`);
    return message.text;
  }

  const { origin, call, clock, logged, composed } = started;
  return {
    origin,
    call,
    clock,
    logged,
    composed,
    request,
    post: (path, body, headers) => request('POST', path, body, headers),
    simulator: (vendor) => {
      const simulator = simulators.get(vendor);
      if (simulator === undefined) throw new Error(`the simulator of ${vendor} was not asked for`);
      return simulator;
    },
    textTo,
    codeFor: (number) => codeIn(textTo(number)),
    async housekeep() {
      const note = (level: string) => (fields: object, message: string) =>
        void logged.push(JSON.stringify({ level, msg: message, ...fields }));
      const log = { info: note('info'), warn: note('warn'), error: note('error') };
      const { countersign } = await compose(composed.config, { log, now });
      // It ends its first round before it closes.
      await countersign.close();
    },
    said: () => [...heard, ...logged].join('\n'),
    async close() {
      await started.close();
      await closeAll(simulators);
    },
  };
}

export type ServedExample = Pick<ServerProcess, 'call' | 'output'> & {
  simulator(vendor: Vendor): Simulator | undefined;
  /** Ends the process, and waits for that. */
  close(): Promise<void>;
};

/** A real `countersign serve` with the configuration file of `examples/<name>`. */
export async function serveExample(
  name: string,
  { mode = 'development', vendors = [], environment = {} }: Omit<Setup, 'config'> = {},
): Promise<ServedExample> {
  const directory = await makeDataDir();
  const simulators = await startSimulators(vendors, { now: Date.now });
  const served = await serveInProcess(directory, {
    COUNTERSIGN_CONFIG: fileURLToPath(new URL(`../../../examples/${name}/countersign.config.ts`, import.meta.url)),
    DATA_DIR: directory,
    COUNTERSIGN_MODE: mode,
    ...(mode === 'production' ? { COUNTERSIGN_SECRET: SECRET } : {}),
    ...environmentOf(simulators),
    ...environment,
  });
  return {
    call: served.call,
    output: served.output,
    simulator: (vendor) => simulators.get(vendor),
    async close() {
      await served.stop();
      await closeAll(simulators);
      await removeDataDir(directory);
    },
  };
}

/** What a client can see of an answer, without the headers that are the same for every one. */
export function seen({ status, headers, body }: DialectAnswer) {
  const { 'content-type': type, 'retry-after': retryAfter, allow, 'www-authenticate': authenticate } = headers;
  const told = { ...(retryAfter && { retryAfter }), ...(allow && { allow }), ...(authenticate && { authenticate }) };
  return { status, type, ...told, body };
}

/** What `seen` gives for an answer in JSON. */
export function answer(
  status: number,
  body: unknown,
  told: { readonly retryAfter?: string; readonly allow?: string; readonly authenticate?: string } = {},
) {
  return { status, type: 'application/json', ...told, body };
}

/** The one run of six digits in a text. */
export function codeIn(text: string): string {
  const code = /(?<!\d)\d{6}(?!\d)/.exec(text)?.[0];
  if (code === undefined) throw new Error(`there is no code in: ${text}`);
  return code;
}

/** Finds a code wherever it stands alone: ids and times hold six digits of many others. */
export function codePattern(code: string): RegExp {
  return new RegExp(`(?<!\\d)${code}(?!\\d)`);
}

async function startSimulators(
  vendors: readonly Vendor[],
  options: SimulatorOptions & { readonly now: () => number },
): Promise<ReadonlyMap<Vendor, Simulator>> {
  const started = vendors.map(async (vendor) => [vendor, await startVendor(vendor, options)] as const);
  return new Map(await Promise.all(started));
}

function startVendor(vendor: Vendor, options: SimulatorOptions & { readonly now: () => number }): Promise<Simulator> {
  // The one with codes of its own, which live by the clock.
  return vendor === 'twilio-verify' ? startTwilioVerify(options) : definitionOf(vendor).start(options);
}

function environmentOf(simulators: ReadonlyMap<Vendor, Simulator>): Record<string, string> {
  const environments = [...simulators].map(([vendor, { url }]) => definitionOf(vendor).environment(url));
  return Object.assign({}, ...environments) as Record<string, string>;
}

function definitionOf(vendor: Vendor) {
  const definition = simulatorDefinitions.find(({ id }) => id === vendor);
  if (definition === undefined) throw new Error(`there is no simulator of ${vendor}`);
  return definition;
}

async function closeAll(simulators: ReadonlyMap<Vendor, Simulator>): Promise<void> {
  await Promise.all([...simulators.values()].map((simulator) => simulator.close()));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
