import { parseEnv } from 'node:util';
import { nearestTo } from '../domain/nearest.ts';
import { providerDefinitions } from '../providers/index.ts';
import { simulatorDefinitions } from '../simulators/index.ts';
import {
  type FaultName,
  faultNames,
  type SimulatedMessage,
  type Simulator,
  type SimulatorDefinition,
} from '../simulators/simulator-kit.ts';
import { defineCommand, expectPositionals } from './command.ts';
import { CliError, exitCodes, print, UsageError } from './output.ts';

const ids = simulatorDefinitions.map(({ id }) => id);

export const simulate = defineCommand({
  name: 'simulate',
  positionals: '<provider>',
  description: `Stands in for a provider on this machine: takes messages over real connections, prints each one as it comes,
reports it as delivered, and reaches no phone. Prints the lines for .env with which Countersign sends through it.
Ctrl-C ends it. Providers: ${ids.join(', ')}.`,
  options: {
    port: { type: 'string', value: 'N', help: 'listen there; 0, the default, takes a free port' },
    fault: { type: 'string', value: 'NAME', help: 'all requests fail that way: stall, server-error, balance …' },
    'report-url': {
      type: 'string',
      value: 'URL',
      help: 'where delivery reports go, where the request does not say it; `doctor --reports` prints it',
    },
    json: { type: 'boolean', help: 'print JSON, one object a line: first the address, then each message' },
  },
  examples: ['simulate eskiz', 'simulate twilio --port 9000 --fault stall'],
  async run({ port, fault, 'report-url': reportUrl, json }, positionals) {
    const [id = ''] = expectPositionals('simulate', positionals, `the provider (${ids.join(', ')})`);
    const definition = simulatorDefinitions.find((each) => each.id === id);
    if (definition === undefined)
      throw new UsageError(`There is no simulator of '${id}'${nearestAndAll(id, ids)}`, 'simulate');
    requireFault(fault, faultNames, id);
    const options = { port: readPort(port), ...(reportUrl === undefined ? {} : { reportUrl: readUrl(reportUrl) }) };
    const asJson = json === true;
    const ended = signalled();
    const simulator = await start(definition, { ...options, onMessage: (message) => tell(message, asJson) });
    try {
      requireFault(fault, simulator.faults ?? faultNames, id);
      simulator.behaveAlways(fault as FaultName | undefined);
      const environment = definition.environment(simulator.url);
      if (asJson) printLine({ provider: id, url: simulator.url, environment, fault });
      else print(greeting(definition, simulator, environment, fault));
      await ended;
    } finally {
      await simulator.close();
    }
    return exitCodes.done;
  },
});

async function start(
  definition: SimulatorDefinition,
  options: NonNullable<Parameters<SimulatorDefinition['start']>[0]>,
): Promise<Simulator> {
  try {
    return await definition.start(options);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new CliError(`Port ${options.port} is in use. Leave --port away to get a free one.`);
    if (code === 'EACCES') throw new CliError(`This user may not listen on port ${options.port} (${message}).`);
    throw error;
  }
}

/** Resolves at the first signal that ends the command. */
function signalled(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
}

function greeting(
  { id }: SimulatorDefinition,
  { url, faults = faultNames }: Simulator,
  environment: Readonly<Record<string, string>>,
  fault: string | undefined,
): string {
  const state = fault === undefined ? '' : `, and every request fails: ${fault}`;
  const control = url.startsWith('http')
    ? `Messages that it took:        curl -s ${url}/simulator/messages
Let every request fail:       curl -s -X PUT ${url}/simulator/fault -d ${faults.includes('stall') ? 'stall' : faults[0]}
Treat them well again:        curl -s -X PUT ${url}/simulator/fault
Report this of each message:  curl -s -X PUT ${url}/simulator/delivery -d '[{"status":"…","delayMs":1000}]'
Faults: ${faults.join(', ')}`
    : `It speaks no HTTP: to change the fault, start it again with another --fault.
Faults: ${faults.join(', ')}`;
  return `The simulator of ${id} is ready: ${url}${state}

In .env, so that Countersign sends through it:

${environmentLines(environment)}
${configurationNote(id, environment)}
${control}

Ctrl-C ends it. Messages:`;
}

/** Variables that no provider file reads belong to a configuration of the operator's own. */
function configurationNote(id: string, environment: Readonly<Record<string, string>>): string {
  const known = new Set(providerDefinitions.flatMap((definition) => Object.keys(definition.environment)));
  return Object.keys(environment).every((name) => known.has(name))
    ? ''
    : `\nThese are variables of a configuration: see docs/providers/${id.split('-')[0]}.md for the entry in countersign.config.ts.\n`;
}

/** As `.env` is read: quoted only where it has to be. */
export function environmentLines(environment: Readonly<Record<string, string>>): string {
  return Object.entries(environment)
    .map(([name, value]) => {
      const forms = [value, `'${value}'`, `"${value}"`, `\`${value}\``].map((form) => `${name}=${form}`);
      return forms.find((line) => parseEnv(line)[name] === value) ?? `# ${name} cannot be written in one line`;
    })
    .join('\n');
}

/** A text may have several lines, and its own idea of a terminal. */
function tell({ id, to, text }: SimulatedMessage, asJson: boolean): void {
  if (asJson) {
    printLine({ id, to, text });
    return;
  }
  const shown = text.replaceAll(/[^\P{Cc}\n]/gu, '\uFFFD').replaceAll('\n', '\n    ');
  print(`\n${new Date().toLocaleTimeString('en-GB')}  ${to}\n    ${shown}`);
}

function printLine(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

// ---- what is asked ----------------------------------------------------------------------------------------------

function requireFault(fault: string | undefined, known: readonly string[], id: string): void {
  if (fault === undefined || known.includes(fault)) return;
  throw new UsageError(`The simulator of ${id} has no fault '${fault}'${nearestAndAll(fault, known)}`, 'simulate');
}

function nearestAndAll(given: string, known: readonly string[]): string {
  const nearest = nearestTo(given, known);
  return nearest.startsWith('; there are') ? nearest : `${nearest}\nThere are: ${known.join(', ')}`;
}

function readPort(given = '0'): number {
  if (!/^\d{1,5}$/.test(given) || Number(given) > 65_535)
    throw new UsageError(`--port is a whole number from 0 to 65535, not '${given}'`, 'simulate');
  return Number(given);
}

function readUrl(given: string): string {
  if (!/^https?:\/\/[^/]/i.test(given) || !URL.canParse(given))
    throw new UsageError(`--report-url is an address that starts with http:// or https://, not '${given}'`, 'simulate');
  return given;
}
