import Type, { type Static } from 'typebox';
import type { DeliveryReport, ReportOutcome, ReportRequest, SendOutcome } from '../domain/provider.ts';
import { accepted, defineProvider, failed } from '../provider-kit/define-provider.ts';
import type { HttpReply } from '../provider-kit/http-client.ts';
import {
  forged,
  isTwoHundred,
  jsonOf,
  malformed,
  probeSilence,
  probeStranger,
  refusedByStatus,
  reported,
  silent,
  unreadable,
} from '../provider-kit/reading.ts';
import { isSame } from '../provider-kit/signature.ts';
import { namesIn, sendTemplate, templateFaults, valueAt } from './http/template.ts';

const closed = { additionalProperties: false } as const;
const fields = Type.Record(Type.String({ minLength: 1 }), Type.String());
const path = Type.String({ pattern: '^[^.\\s]+(\\.[^.\\s]+)*$', description: 'a JSON path such as messages.0.id' });
const regex = Type.String({ minLength: 1, description: 'a regular expression' });
const statusCode = Type.Integer({ minimum: 200, maximum: 599 });
const scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean()]);
const reason = Type.Enum([
  'recipient',
  'blocked',
  'content',
  'coverage',
  'account',
  'throttled',
  'unavailable',
  'uncertain',
]);
const method = Type.Optional(Type.Enum(['GET', 'POST', 'PUT'], { description: 'POST unless told otherwise' }));
const target = { url: Type.String(), headers: Type.Optional(fields), query: Type.Optional(fields) };
const body = { form: Type.Optional(fields), json: Type.Optional(Type.Unknown()), text: Type.Optional(Type.String()) };
const Request = Type.Object({ method, ...target, ...body }, closed);

const Settings = Type.Object(
  {
    request: Request,
    auth: Type.Optional(
      Type.Enum(['none', 'basic', 'bearer', 'header'], { description: 'none unless told otherwise' }),
    ),
    authHeader: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9-]+$', description: 'carries the token' })),
    user: Type.Optional(Type.String({ minLength: 1 })),
    password: Type.Optional(Type.String({ minLength: 1, secret: true })),
    token: Type.Optional(Type.String({ minLength: 1, secret: true })),
    from: Type.Optional(Type.String({ minLength: 1, description: 'the sender' })),
    success: Type.Optional(
      Type.Object(
        {
          status: Type.Optional(Type.Array(statusCode, { minItems: 1, description: 'any 2xx unless told otherwise' })),
          json: Type.Optional(Type.Object({ path, is: Type.Array(scalar, { minItems: 1 }) }, closed)),
          text: Type.Optional(regex),
        },
        closed,
      ),
    ),
    id: Type.Union([
      Type.Enum(['ours'], { description: 'the gateway takes {message_id}' }),
      Type.Object({ json: path }, closed),
      Type.Object({ text: regex }, closed),
    ]),
    errors: Type.Optional(
      Type.Array(
        Type.Object(
          {
            match: Type.Optional(regex),
            status: Type.Optional(statusCode),
            reason,
            code: Type.Optional(Type.String({ pattern: '^[\\w .:-]{1,64}$', description: 'for logs' })),
            optOut: Type.Optional(Type.Literal(true)),
          },
          closed,
        ),
      ),
    ),
    report: Type.Optional(
      Type.Object(
        {
          in: Type.Enum(['json', 'form', 'query']),
          list: Type.Optional(path),
          id: path,
          state: path,
          error: Type.Optional(path),
          secret: Type.Optional(path),
          states: Type.Record(
            Type.String({ minLength: 1 }),
            Type.Enum(['queued', 'sent', 'delivered', 'undelivered', 'failed', 'unknown']),
            { minProperties: 1 },
          ),
          reasons: Type.Optional(Type.Record(Type.String({ minLength: 1 }), reason)),
        },
        closed,
      ),
    ),
    reportSecret: Type.Optional(Type.String({ minLength: 8, secret: true, description: 'what report.secret must be' })),
    balance: Type.Optional(
      Type.Object(
        {
          request: Request,
          json: Type.Optional(path),
          text: Type.Optional(regex),
          least: Type.Optional(Type.Number()),
        },
        closed,
      ),
    ),
  },
  closed,
);
type Gateway = Static<typeof Settings>;
type Report = NonNullable<Gateway['report']>;

const credentialNames = ['user', 'password', 'token', 'from'] as const;
const messageNames = ['to', 'to_digits', 'text', 'code', 'message_id', 'report_url', 'validity_seconds'];

/** Any other gateway, as its contract describes it: see docs/providers/http.md. */
export const http = defineProvider({
  id: 'http',
  kind: 'messaging',
  channels: ['sms'],
  settings: Settings,
  // Several gateways can be configured, each under its own name: their variables are named in the file.
  environment: {},
  faults: gatewayFaults,
  create: (settings, { http: client }) => {
    const { request, id, errors = [], success = {}, report, balance } = settings;
    const credentials = {
      user: settings.user,
      password: settings.password,
      token: settings.token,
      from: settings.from,
    };
    const headers = authHeaders(settings);
    const refusals = errors.map(({ match, ...error }) => ({ ...error, pattern: patternOf(match) }));
    const [successText, idText] = [
      patternOf(success.text),
      typeof id === 'object' && 'text' in id ? patternOf(id.text) : undefined,
    ];
    const needsCode = namesIn(request).has('code') && !namesIn(request).has('text');

    function readReply(reply: HttpReply, ours: string): SendOutcome {
      const words = reply.text ?? '';
      const index = refusals.findIndex(
        ({ pattern, status }) => (status ?? reply.status) === reply.status && (pattern?.test(words) ?? true),
      );
      const refusal = refusals[index];
      if (refusal !== undefined) {
        const { reason, code = `errors ${index}`, optOut } = refusal;
        return failed(reason, code, optOut === true ? { optOut } : {});
      }
      if (!(success.status?.includes(reply.status) ?? isTwoHundred(reply))) return refusedByStatus(reply);
      if (success.json !== undefined) {
        const said = valueAt(reply.json, success.json.path);
        if (said === undefined || said === null) return unreadable();
        // It says something else: a refusal of which `errors` knows nothing.
        if (!success.json.is.some((word) => word === said)) return failed('content', 'refused');
      }
      if (successText !== undefined && !successText.test(words)) return unreadable();
      const theirs = id === 'ours' ? ours : 'json' in id ? valueAt(reply.json, id.json) : idText?.exec(words)?.[1];
      const read = textOf(theirs);
      return read === undefined || reply.text === undefined ? unreadable() : accepted(read);
    }

    return {
      async send(message, signal) {
        // There is no text in the request, and a custom message has no code.
        if (needsCode && message.code === undefined) return failed('content', 'no-code');
        const values = {
          ...credentials,
          to: message.to,
          to_digits: message.to.slice(1),
          text: message.text,
          code: message.code,
          message_id: message.messageId,
          report_url: message.reportUrl,
          validity_seconds: String(message.validitySeconds),
        };
        const reply = await sendTemplate(client, request, values, { signal, headers });
        return reply.kind === 'silence' ? silent(reply) : readReply(reply, message.messageId);
      },

      ...(report === undefined
        ? {}
        : { parseReport: (posted: ReportRequest) => readReports(posted, report, settings.reportSecret) }),

      ...(balance === undefined
        ? {}
        : {
            async probe(signal: AbortSignal) {
              const reply = await sendTemplate(client, balance.request, credentials, { signal, headers });
              const variable = 'balance.request.url of this provider';
              if (reply.kind === 'silence') return probeSilence(reply, 'the gateway', variable);
              const said =
                balance.text === undefined ? undefined : patternOf(balance.text)?.exec(reply.text ?? '')?.[1];
              const amount = textOf(balance.json === undefined ? said : valueAt(reply.json, balance.json));
              if (reply.status === 200 && amount !== undefined && Number.isFinite(Number(amount))) {
                if (Number(amount) > (balance.least ?? 0))
                  return { kind: 'ready', detail: `balance ${Number(amount)}` };
                const fix =
                  'Top the account up at the gateway: what is left is not more than balance.least of this provider.';
                return { kind: 'failed', reason: 'account', code: 'balance', fix };
              }
              const outcome = readReply(reply, '');
              if (outcome.kind !== 'failed' || outcome.reason !== 'account' || reply.status === 404)
                return probeStranger(reply, 'the gateway', variable);
              const fix =
                'The gateway refuses the credentials: check user, password or token of this provider in the configuration file, and the variables that they name, such as SMS_UZ_PASSWORD.';
              return { kind: 'failed', reason: 'account', code: outcome.code, fix };
            },
          }),
    };
  },
});

function authHeaders({
  auth = 'none',
  authHeader = 'Authorization',
  user,
  password,
  token,
}: Gateway): Record<string, string> {
  if (auth === 'basic') {
    return { Authorization: `Basic ${Buffer.from(`${user ?? ''}:${password ?? ''}`).toString('base64')}` };
  }
  if (auth === 'bearer') return { Authorization: `Bearer ${token ?? ''}` };
  return auth === 'header' ? { [authHeader]: token ?? '' } : {};
}

function patternOf(source: string | undefined): RegExp | undefined {
  return source === undefined ? undefined : new RegExp(source, 'iu');
}

/** What an id, a state or an error may be. */
function textOf(value: unknown): string | undefined {
  const text = typeof value === 'number' || typeof value === 'boolean' ? String(value) : value;
  return typeof text === 'string' && text !== '' && text.length <= 255 ? text : undefined;
}

function readReports(posted: ReportRequest, report: Report, secret: string | undefined): ReportOutcome {
  const whole = documentOf(posted, report.in);
  if (whole === undefined) return malformed;
  if (report.secret !== undefined && !isSame(textOf(valueAt(whole, report.secret)) ?? '', secret ?? '')) return forged;
  const list = report.list === undefined ? whole : valueAt(whole, report.list);
  const states = new Map(Object.entries(report.states).map(([word, state]) => [word.toLowerCase(), state]));
  // Not looked up in the object itself: an error `constructor` would find what every object has.
  const reasons = new Map(Object.entries(report.reasons ?? {}));
  const reports = (Array.isArray(list) ? list : [list]).flatMap((item): DeliveryReport[] => {
    const [providerMessageId, word] = [textOf(valueAt(item, report.id)), textOf(valueAt(item, report.state))];
    if (providerMessageId === undefined || word === undefined) return [];
    const state = states.get(word.toLowerCase()) ?? 'unknown';
    if (state !== 'failed' && state !== 'undelivered') return [{ providerMessageId, state }];
    const error = report.error === undefined ? undefined : textOf(valueAt(item, report.error));
    const reason = reasons.get(error ?? '') ?? reasons.get(word) ?? 'unavailable';
    // No longer than an error code is: sentences could quote the text.
    const code = [word, error].filter((part) => part !== undefined && /^[\w.-]{1,12}$/.test(part)).join(' ');
    return [{ providerMessageId, state, reason, code: code === '' ? state : code }];
  });
  return reports.length === 0 ? malformed : reported(...reports);
}

function documentOf(posted: ReportRequest, where: Report['in']): unknown {
  if (where === 'json') return jsonOf(posted);
  const text = where === 'query' ? (URL.parse(posted.url)?.search ?? '') : new TextDecoder().decode(posted.rawBody);
  return Object.fromEntries(new URLSearchParams(text));
}

/** @param place where the gateway stands in the configuration, e.g. `providers.sms-uz` */
function gatewayFaults(settings: Gateway, place = 'providers.http'): string[] {
  const { request, auth, id, errors = [], success, report, reportSecret, balance } = settings;
  const given = credentialNames.filter((name) => settings[name] !== undefined);
  const names = namesIn(request);
  const faults: string[] = [];
  const requests = [
    { at: `${place}.request`, template: request, more: messageNames },
    ...(balance === undefined ? [] : [{ at: `${place}.balance.request`, template: balance.request, more: [] }]),
  ];
  for (const { at, template, more } of requests) {
    faults.push(...templateFaults(at, template, [...more, ...credentialNames]));
    for (const name of credentialNames) {
      if (namesIn(template).has(name) && !given.includes(name))
        faults.push(`${place}.${name} is missing: ${at.slice(place.length + 1)} has {${name}}`);
    }
  }
  if (!names.has('to') && !names.has('to_digits')) faults.push(`${place}.request has neither {to} nor {to_digits}`);
  if (!names.has('text') && !names.has('code')) faults.push(`${place}.request has neither {text} nor {code}`);
  if (id === 'ours' && !names.has('message_id'))
    faults.push(`${place}.id is 'ours', and ${place}.request has no {message_id}`);
  const needed = { none: [], basic: ['user', 'password'], bearer: ['token'], header: ['token'] } as const;
  for (const name of needed[auth ?? 'none']) {
    if (settings[name] === undefined) faults.push(`${place}.${name} is missing: auth is ${auth}`);
  }
  if ((report?.secret === undefined) !== (reportSecret === undefined))
    faults.push(`${place} needs both or neither: report.secret says where it is, reportSecret what it is`);
  if (balance !== undefined && (balance.json === undefined) === (balance.text === undefined))
    faults.push(`${place}.balance needs one of json and text: where the number is`);
  errors.forEach(({ match, status }, index) => {
    faults.push(...patternFaults(`${place}.errors.${index}.match`, match));
    if (match === undefined && status === undefined)
      faults.push(`${place}.errors.${index} needs match or status: it would be every answer`);
  });
  faults.push(...patternFaults(`${place}.success.text`, success?.text));
  faults.push(...patternFaults(`${place}.balance.text`, balance?.text, 1));
  if (typeof id === 'object' && 'text' in id) faults.push(...patternFaults(`${place}.id.text`, id.text, 1));
  return faults;
}

function patternFaults(place: string, source: string | undefined, groups?: number): string[] {
  if (source === undefined) return [];
  try {
    // With an empty alternative anything matches, and says how many groups there are.
    const found = new RegExp(`${source}|`, 'iu').exec('');
    const count = (found?.length ?? 1) - 1;
    return groups === undefined || count === groups ? [] : [`${place} needs one group, as in "id=(\\d+)"`];
  } catch {
    return [`${place} is no regular expression`];
  }
}
