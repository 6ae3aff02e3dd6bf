import { nearestTo } from '../domain/nearest.ts';
import { channels } from '../domain/provider.ts';
import { INBOX } from '../domain/route.ts';
import { appOption, defineCommand, expectPositionals, jsonOption } from './command.ts';
import { chooseApp, withInstallation } from './installation.ts';
import { columns, durationText, exitCodes, print, printJson, printRefusal, programName, UsageError } from './output.ts';
import { type MessageJson, openSendWay, type SendAnswer, type SendWay, type StartedJson } from './send-way.ts';

export const send = defineCommand({
  name: 'send',
  positionals: '<number>',
  description: `Sends a code to a number or, with --text, a text of your own, through the providers that are configured.
It works on the store itself. Only where a server of this installation runs in development mode at the configured
HOST and PORT, the request goes through its API, because the inbox lives in its memory.`,
  options: {
    app: appOption,
    channel: { type: 'string', value: 'NAME', help: channels.join(', ') },
    locale: { type: 'string', value: 'TAG', help: 'language of the text, e.g. ru' },
    country: { type: 'string', value: 'CC', help: 'ISO 3166-1, for a number in national form' },
    purpose: { type: 'string', value: 'WORD', help: "what the code is for; 'login' unless told otherwise" },
    text: { type: 'string', value: 'TEXT', help: 'send this instead of a code' },
    json: jsonOption,
  },
  examples: [
    'send +998901234567',
    "send '90 123 45 67' --country UZ --locale ru",
    "send +998901234567 --text 'Your driver is here.'",
  ],
  async run({ app: named, channel, locale, country, purpose, text, json }, positionals) {
    const [to = ''] = expectPositionals('send', positionals, 'the number');
    if (channel !== undefined && !(channels as readonly string[]).includes(channel))
      throw new UsageError(`There is no channel '${channel}'${nearestTo(channel, channels)}`, 'send');
    if (text !== undefined && (locale !== undefined || purpose !== undefined))
      throw new UsageError('--locale and --purpose are for a code: a text of your own has neither', 'send');
    return withInstallation('store and providers', async (composed) => {
      const way = await openSendWay(composed, chooseApp(composed, named, 'send'));
      const request = { to, ...given({ channel, country: country?.toUpperCase() }) };
      if (text !== undefined) {
        const answer = await way.sendMessage({ ...request, text });
        return tell(answer, way, json === true, (message) => messageText(message, way));
      }
      const answer = await way.start({ ...request, ...given({ locale, purpose }) });
      return tell(answer, way, json === true, (started) => startedText(started, way, named));
    });
  },
});

function tell<Body extends StartedJson | MessageJson>(
  answer: SendAnswer<Body>,
  way: SendWay,
  asJson: boolean,
  toText: (body: Body & { provider: string | undefined }) => string,
) {
  if (answer.kind === 'refused') {
    const failures = answer.failures.map(({ provider, reason, code }) => `  ${provider}: ${reason} (${code})`);
    return printRefusal(answer.problem, asJson, [
      ...failures,
      ...(failures.length > 0 ? [`See also: ${programName} doctor`] : []),
    ]);
  }
  const { body, provider } = answer;
  if (asJson) printJson({ ...body, provider, via: way.kind, inbox: inboxOf(way, provider) });
  else print(toText({ ...body, provider }));
  return exitCodes.done;
}

function startedText(
  body: StartedJson & { provider: string | undefined },
  way: SendWay,
  app: string | undefined,
): string {
  const leftSeconds = Math.max(0, Math.round((Date.parse(body.expires_at) - Date.now()) / 1000));
  const isRepeated = body.sends > 1 ? `, send ${body.sends} of the same verification` : '';
  const rows = [
    ['  Verification', body.id],
    ...(body.code === undefined ? [] : [['  Code', `${body.code} (shown in development mode only)`]]),
    ['  Good for', `${durationText(leftSeconds)}, until ${body.expires_at}`],
    ...whereabouts(body.provider, way),
    [
      '  Check it',
      `${programName} check${app === undefined ? '' : ` --app ${app}`} ${body.id} ${body.code ?? '<code>'}`,
    ],
  ];
  return `Sent a code to ${body.to} by ${body.channel}${isRepeated}.\n\n${columns(rows)}`;
}

function messageText(body: MessageJson & { provider: string | undefined }, way: SendWay): string {
  const rows = [
    ['  Message', body.id],
    ['  Billed as', `${body.segments} ${body.segments === 1 ? 'segment' : 'segments'}, ${body.encoding}`],
    ...whereabouts(body.provider, way),
  ];
  return `Sent the text to ${body.to} by ${body.channel}.\n\n${columns(rows)}`;
}

/** Where the message is now, and by which way it got there. */
function whereabouts(provider: string | undefined, way: SendWay): string[][] {
  const inbox = inboxOf(way, provider);
  const rows = provider === undefined ? [] : [['  Taken by', provider]];
  if (inbox !== undefined) rows.push(['  Read it at', inbox]);
  else if (provider === INBOX && way.kind === 'store') rows.push(['  Read it', `nowhere: ${way.whyNoInbox}`]);
  rows.push([
    '  Sent by',
    way.kind === 'server' ? `the server at ${way.url}` : `this command, on the store in ${way.dataDir}`,
  ]);
  return rows;
}

function inboxOf(way: SendWay, provider: string | undefined): string | undefined {
  return way.kind === 'server' && provider === INBOX ? `${way.url}/inbox` : undefined;
}

function given<Fields extends Record<string, string | undefined>>(fields: Fields): { [Name in keyof Fields]?: string } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
