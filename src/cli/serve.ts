import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { compose, loadProcessConfig } from '../compose.ts';
import type { Config } from '../config/config.ts';
import { createMetrics } from '../http/metrics.ts';
import { addressOf, buildServer } from '../http/server.ts';
import { nameOfStore } from '../open-store.ts';
import { defineCommand, expectPositionals } from './command.ts';
import { showOnConsole } from './console-messages.ts';
import { greeting } from './greeting.ts';
import { openLog } from './log.ts';
import { CliError, programName } from './output.ts';

/** How long requests under way may take after a signal; then the process ends whatever they do. */
const STOP_PATIENCE_MS = 12_000;

export const serve = defineCommand({
  name: 'serve',
  positionals: '',
  description: `Starts the server. SIGTERM and SIGINT stop it gracefully; SIGHUP opens LOG_FILE anew, after a log rotation.
Configuration comes from the environment, a .env file and countersign.config.ts of the working directory.`,
  options: {},
  async run(_values, positionals) {
    expectPositionals('serve', positionals);
    await startServer();
    return undefined;
  },
});

async function startServer(): Promise<void> {
  const config = await loadProcessConfig();
  const { log, reopen, flush } = await openLog(config);
  const composed = await compose(config, { log });
  const server = await buildServer(composed, {
    log,
    metrics: createMetrics(),
    pagesDirectory: directoryOf('web/dist'),
    docsDirectory: directoryOf('docs'),
  });
  try {
    await server.listen({ host: config.host, port: config.port });
  } catch (error) {
    await composed.countersign.close();
    throw listenError(error as NodeJS.ErrnoException, config);
  }
  // Somebody who closes the terminal of `npm start` means to end it, and would find the port taken the next time.
  const endsWithTerminal = process.stdout.isTTY === true && config.logFile === undefined;
  process.on('SIGHUP', () => (endsWithTerminal ? void stop('SIGHUP') : reopen()));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void stop(signal));
  process.once('exit', flush);
  // The inbox is always there in development, and no vendor.
  for (const { id, definition } of config.providers)
    log.info({ provider: id, kind: definition.kind, channels: definition.channels }, 'provider ready');
  for (const { id, variable } of config.switchedOff) log.info({ provider: id, variable }, 'provider switched off');
  for (const { app, dialect, upstream } of config.dialects) {
    if (upstream !== undefined)
      log.warn(
        { app, dialect: dialect.id, upstream },
        'shadow mode: the old back end answers, and ours is only compared',
      );
  }
  log.info(
    {
      mode: config.mode,
      store: nameOfStore(config),
      address: addressOf(server, config.host),
      apps: [...config.apps.keys()],
      providers: composed.countersign.providers.list(),
    },
    'listening',
  );
  const speaksForAnother =
    config.dialects.length > 0 || [...config.apps.values()].some(({ twilioVerify }) => twilioVerify !== undefined);
  if (composed.inbox !== undefined && speaksForAnother)
    showOnConsole(composed.inbox, (text) => process.stdout.write(text));
  if (config.mode === 'development') process.stdout.write(greeting(addressOf(server, config.host), config));

  async function stop(signal: string): Promise<void> {
    log.info({ signal }, 'stopping');
    setTimeout(() => {
      log.error({}, 'requests under way did not end in time');
      process.exit(1);
    }, STOP_PATIENCE_MS).unref();
    await server.close();
    await composed.countersign.close();
    log.info({}, 'stopped');
    process.exit(0);
  }
}

/** In a clone the folder beside `src/`; in the published package the one beside the code. */
function directoryOf(name: string): string {
  const inPackage = join(import.meta.dirname, '..', name);
  return existsSync(inPackage) ? inPackage : join(import.meta.dirname, '..', '..', name);
}

function listenError(error: NodeJS.ErrnoException, { host, port }: Config): Error {
  if (error.code === 'EADDRINUSE')
    return new CliError(
      `Port ${port} is in use on ${host}. Stop what listens there, or set another port: PORT=${port + 1} ${programName} serve`,
    );
  if (error.code === 'EACCES')
    return new CliError(`This user may not listen on port ${port}. Set PORT to one above 1023.`);
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND')
    return new CliError(`HOST=${host} is no address of this machine.`);
  return error;
}
