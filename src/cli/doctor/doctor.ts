import { existsSync, readFileSync } from 'node:fs';
import { parseEnv, styleText } from 'node:util';
import { loadProcessConfig } from '../../compose.ts';
import type { Config, Environment } from '../../config/config.ts';
import { ConfigError } from '../../config/load.ts';
import { nearestTo } from '../../domain/nearest.ts';
import { appOption, defineCommand, expectPositionals, jsonOption } from '../command.ts';
import { chooseApp } from '../installation.ts';
import { exitCodes, print, printJson, UsageError } from '../output.ts';
import { clockFinding, sampleClocks } from './clock.ts';
import { type Finding, fault, fine, skipped } from './finding.ts';
import { examineStore, lastWriteOf, portFinding, secretFinding } from './installation.ts';
import { examineProviders, type ProviderReport } from './providers.ts';
import { publicUrlFinding } from './public-url.ts';
import { routeFindings } from './routes.ts';
import { shadowFindings } from './shadow.ts';
import { sendTrial, type Trial } from './trial.ts';

export const doctor = defineCommand({
  name: 'doctor',
  positionals: '',
  description: `Looks whether this installation can work: configuration, secret, store, clock, port, public address, routes, and
whether each configured provider answers with these credentials. Nothing is sent, and nothing is changed.
With --send it also sends one real message with a code, which costs money, and waits up to 20 s for what becomes of it.
Exits with 0 when all is fine, with 1 when there is something to do.`,
  options: {
    send: { type: 'string', value: 'NUMBER', help: 'send one real message there; its code is worth nothing' },
    provider: {
      type: 'string',
      value: 'ID',
      help: "with --send: through this provider, whatever the app's route says",
    },
    app: { ...appOption, help: `with --send: ${appOption.help}` },
    country: { type: 'string', value: 'CC', help: 'with --send: ISO 3166-1, for a number in national form' },
    reports: {
      type: 'boolean',
      help: 'show the addresses for delivery reports, for cabinets that want one; they are secret',
    },
    json: jsonOption,
  },
  examples: ['doctor', 'doctor --send +998901234567', 'doctor --send +998901234567 --provider eskiz'],
  async run({ send, provider, app, country, reports, json }, positionals) {
    expectPositionals('doctor', positionals);
    for (const [option, value] of Object.entries({ provider, app, country })) {
      if (value !== undefined && send === undefined) throw new UsageError(`--${option} goes with --send`, 'doctor');
    }
    const { config, findings } = await examine(reports === true);
    let trial: Trial | undefined;
    if (send !== undefined) {
      if (config !== undefined) {
        const known = config.providers.map(({ id }) => id);
        if (provider !== undefined && !known.includes(provider))
          throw new UsageError(`There is no provider '${provider}' configured${nearestTo(provider, known)}`, 'doctor');
        const request = {
          app: chooseApp({ config }, app, 'doctor'),
          to: send,
          provider,
          country: country?.toUpperCase(),
        };
        // A store that cannot be opened has been named, and nothing is sent that is not stored.
        const isSound = findings.every(
          ({ check, result }) => result !== 'fault' || !['store', 'secret'].includes(check),
        );
        if (isSound) trial = await sendTrial(config, request);
      }
      trial ??= { findings: [skipped('send', 'nothing was sent: the faults above come first')], sent: undefined };
    }
    const all = [...findings, ...(trial?.findings ?? [])];
    const isFine = all.every(({ result }) => result !== 'fault');
    if (json === true) printJson({ ok: isFine, findings: all, sent: trial?.sent });
    else print(toText(all));
    return isFine ? exitCodes.done : exitCodes.operator;
  },
});

async function examine(
  showsReports: boolean,
): Promise<{ readonly config: Config | undefined; readonly findings: Finding[] }> {
  const node = fine('node', `Node.js ${process.versions.node}`);
  let config: Config;
  try {
    config = await loadProcessConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const environment = readEnvironment();
    const faults = error.faults.map((each) => fault('configuration', each, fixOfFault(each, environment)));
    const rest = skipped('all else', 'is looked at once the configuration is whole');
    return { config: undefined, findings: [node, ...faults, rest] };
  }
  const lastWriteAt = lastWriteOf(config);
  let providers: ProviderReport = { findings: [], reporting: [] };
  const samples = await sampleClocks(Date.now, async () => {
    providers = await examineProviders(config);
  });
  const store = await examineStore(config);
  const findings = [
    node,
    fine('configuration', configDetail(config)),
    // That the database was made with another secret says more than that this one looks good.
    ...(store.findings.some(({ check }) => check === 'secret') ? [] : [secretFinding(config)]),
    ...store.findings,
    clockFinding(Date.now(), [...samples, ...(store.clocks ?? [])], lastWriteAt),
    await portFinding(config, store.jwks),
    publicUrlFinding(config, providers.reporting),
    ...(config.providers.length === 0
      ? [
          skipped(
            'providers',
            `none is configured${config.mode === 'development' ? ': messages go to the inbox (development mode)' : ''}`,
          ),
        ]
      : []),
    ...providers.findings,
    ...(showsReports ? addressFindings(config, providers.reporting, store.reportSecretOf) : []),
    ...routeFindings(config),
    ...shadowFindings(config),
  ];
  return { config, findings };
}

/** Where nothing is left to send with, it may be for a switch. */
function fixOfFault(each: string, environment: Environment): string {
  const isOff = (variable: string) => /^(0|false|no|off)$/i.test(environment[variable] ?? '');
  const switches = Object.keys(environment).filter((name) => name.endsWith('_ENABLED') && isOff(name));
  if (/has no provider (to send with|that sends)|that are switched off/.test(each) && switches.length > 0)
    return `Set the credentials of one; switched off ${switches.length === 1 ? 'is' : 'are'} at present: ${switches.join(', ')}.`;
  return 'Correct it in the environment, .env or the configuration file.';
}

/** As `loadConfig` reads it. */
function readEnvironment(): Environment {
  return { ...(existsSync('.env') ? parseEnv(readFileSync('.env', 'utf8')) : {}), ...process.env };
}

/** Where providers post to that learn it from their cabinet or support, and not with each message. */
function addressFindings(
  { publicUrl }: Config,
  reporting: readonly string[],
  reportSecretOf: ((id: string) => string) | undefined,
): Finding[] {
  if (publicUrl === undefined) return [skipped('addresses', 'PUBLIC_URL is not set')];
  if (reportSecretOf === undefined) return [skipped('addresses', 'are known once the store can be opened')];
  return reporting.map((id) => fine(`reports ${id}`, `${publicUrl}/v1/reports/${id}/${reportSecretOf(id)}`));
}

function configDetail({ mode, apps }: Config): string {
  const names = [...apps.keys()];
  return `${mode} mode, ${names.length === 1 ? 'app' : 'apps'} ${names.join(', ')}`;
}

const marks = { fine: '✓', fault: '✗', skipped: '–' } as const;
const colours = { fine: 'green', fault: 'red', skipped: 'dim' } as const;

/** In colour on a terminal that wants it (`NO_COLOR`, `FORCE_COLOR`). */
function toText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  return findings
    .map((finding) => {
      const mark = styleText(colours[finding.result], marks[finding.result], { stream: process.stdout });
      const line = `${mark} ${finding.check.padEnd(width)}  ${finding.detail}`;
      return finding.result === 'fault' ? `${line}\n  ${' '.repeat(width)}  → ${finding.fix}` : line;
    })
    .join('\n');
}
