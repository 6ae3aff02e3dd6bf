import { getExampleNumber } from 'libphonenumber-js/max';
import examples from 'libphonenumber-js/mobile/examples';
import type { Config } from '../config/config.ts';
import type { CountryCode } from '../domain/phone-number.ts';
import { INBOX } from '../domain/route.ts';
import type { App } from '../service/app.ts';
import { DEFAULT_APP } from '../service/start-verification.ts';
import { programName } from './output.ts';

const EXAMPLE = { country: 'UZ', number: '+998901234567' } as const;

/** What a developer sees at the start: where things are, and lines that send the first code. */
export function greeting(address: string, config: Config): string {
  // The app that a caller without a key is taken for, see `http/authenticate.ts`.
  const app = config.apps.get(DEFAULT_APP) ?? [...config.apps.values()][0];
  const providers = new Set(
    [...(app?.routes.values() ?? [])].flat().flatMap(({ provider }) => (provider === INBOX ? [] : [provider])),
  );
  const example = app === undefined ? undefined : exampleNumber(app);
  const to = example ?? 'YOUR NUMBER';
  const places = [
    ...(example === undefined ? [] : [`  Inbox (what would be sent):  ${address}/inbox`]),
    // Whoever left credentials in the environment should know before the first code goes to a stranger.
    ...(providers.size === 0 ? [] : [`  To real phones through:      ${[...providers].join(', ')}`]),
    `  API:                         ${address}/docs`,
    ...config.dialects.map(
      ({ dialect, prefix }) =>
        `  ${`As ${dialect.id}:`.padEnd(29)}${dialect.routes.map(({ path }) => `${prefix}${path}`).join(', ')}`,
    ),
    ...config.dialects.flatMap(({ dialect, upstream }) =>
      upstream === undefined ? [] : [`  In shadow mode:              ${dialect.id}, answered by ${upstream}`],
    ),
    ...[...config.apps.values()].flatMap(({ twilioVerify }) =>
      twilioVerify === undefined
        ? []
        : [`  As Twilio Verify:            ${address}/v2, account ${twilioVerify.accountSid}`],
    ),
  ];
  return `
  Countersign is ready: ${address}

${places.join('\n')}

  Send a code:
    curl -s ${address}/v1/verifications -H 'Content-Type: application/json' -d '{"to":"${to}"}'
  or in another terminal:
    ${environmentOf(address)}${programName} send '${to}'

`;
}

/** A number whose messages stop in the inbox and that the app is open for; undefined when there is none. */
function exampleNumber({ country, allowedCountries, routes }: App): string | undefined {
  const candidates = [EXAMPLE.country, country, ...(allowedCountries ?? []), ...routes.keys()];
  const found = candidates.find(
    (candidate) =>
      candidate !== undefined &&
      /^[A-Z]/.test(candidate) &&
      allowedCountries?.has(candidate) !== false &&
      (routes.get(candidate) ?? routes.get('*'))?.[0]?.provider === INBOX,
  );
  if (found === undefined || found === EXAMPLE.country) return found && EXAMPLE.number;
  return getExampleNumber(found as CountryCode, examples)?.number;
}

/** What was set for this process alone, so that a command in another terminal finds the same server and store. */
function environmentOf(address: string): string {
  const { PORT, DATA_DIR } = process.env;
  // Not PORT as it is: 0 takes a free one.
  const port = PORT ? `PORT=${new URL(address).port || '80'} ` : '';
  return DATA_DIR ? `DATA_DIR='${DATA_DIR.replaceAll("'", "'\\''")}' ${port}` : port;
}
