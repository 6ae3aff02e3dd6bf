import { createHmac, randomUUID } from 'node:crypto';
import { startHttpSimulator } from './http-simulator.ts';
import type { Answer, SeenRequest, SimulatorDefinition } from './simulator-kit.ts';

const TOKEN = 'EAAtest-whatsapp-token';
const PHONE_NUMBER_ID = '106540352242922';
const APP_SECRET = 'test-whatsapp-app-secret';
const TEMPLATE = 'verification_code';
const LANGUAGES = ['en_US', 'ru', 'uz', 'ky_KG', 'pt_BR'];

const refusal = (status: number, code: number, message: string, more: object = {}): Answer => ({
  status,
  body: { error: { message: `(#${code}) ${message}`, type: 'OAuthException', code, ...more, fbtrace_id: 'AbCdEf' } },
});
const details = (text: string) => ({ error_data: { messaging_product: 'whatsapp', details: text } });
const unauthorized = refusal(401, 190, 'Error validating access token: Session has expired.');

/** What `X-Hub-Signature-256` is to be. Source: https://developers.facebook.com/docs/graph-api/webhooks/getting-started (read 2026-11-20). */
export function signWhatsAppReport(appSecret: string, body: string): string {
  return `sha256=${createHmac('sha256', appSecret).update(body).digest('hex')}`;
}

/** Answers like WhatsApp on `graph.facebook.com`. Written against Meta's documentation, not against our provider file. */
export const whatsappSimulator: SimulatorDefinition = {
  id: 'whatsapp',
  environment: (url) => ({
    WHATSAPP_BASE_URL: url,
    WHATSAPP_TOKEN: TOKEN,
    WHATSAPP_PHONE_NUMBER_ID: PHONE_NUMBER_ID,
    WHATSAPP_TEMPLATE: TEMPLATE,
    WHATSAPP_LANGUAGES: LANGUAGES.join(','),
    WHATSAPP_APP_SECRET: APP_SECRET,
    WHATSAPP_VERIFY_TOKEN: 'test-whatsapp-verify-token',
  }),
  start: (options) =>
    startHttpSimulator(
      {
        delivery: [{ status: 'sent' }, { status: 'delivered' }],
        refusals: {
          'bad-number': refusal(400, 131026, 'Message undeliverable', details('Message Undeliverable.')),
          throttle: refusal(429, 130429, 'Rate limit hit', details('Message failed to send due to rate limits.')),
          credentials: unauthorized,
          balance: refusal(400, 131042, 'Business eligibility payment issue', details('Payment method is missing.')),
          content: refusal(404, 132001, 'Template name does not exist in the translation'),
        },
        answer: (request, take) => {
          if (request.headers.authorization !== `Bearer ${TOKEN}`) return unauthorized;
          const [, id, edge] = /^\/v\d+\.\d+\/(\d+)(\/messages)?$/.exec(request.path) ?? [];
          if (id !== PHONE_NUMBER_ID)
            return refusal(400, 100, `Object with ID '${id}' does not exist`, { error_subcode: 33 });
          if (edge === undefined)
            return {
              status: 200,
              body: {
                verified_name: 'Acme',
                code_verification_status: 'VERIFIED',
                display_phone_number: '+1 555-078-3881',
                quality_rating: 'GREEN',
                id: PHONE_NUMBER_ID,
              },
            };
          return sendMessage(request, take);
        },
        withoutId: ({ status }) => ({ status, body: { messaging_product: 'whatsapp', contacts: [], messages: [{}] } }),
        report: ({ id, to, reportUrl, fields }, step) => {
          if (reportUrl === undefined) return undefined;
          const status = {
            id,
            status: step.status,
            timestamp: String(Math.floor(Date.now() / 1000)),
            recipient_id: to.slice(1),
            ...fields,
            ...(step.status === 'failed'
              ? { errors: [{ code: Number(step.errorCode ?? 131026), title: 'Message undeliverable' }] }
              : { pricing: { billable: true, pricing_model: 'PMP', category: 'authentication' } }),
          };
          const body = webhook(status);
          const secret = step.isForged === true ? 'another' : APP_SECRET;
          return {
            url: reportUrl,
            headers: { 'Content-Type': 'application/json', 'X-Hub-Signature-256': signWhatsAppReport(secret, body) },
            body,
          };
        },
      },
      options,
    ),
};

type SentTemplate = {
  readonly messaging_product?: string;
  readonly to?: string;
  readonly type?: string;
  readonly template?: {
    readonly name?: string;
    readonly language?: { readonly code?: string };
    readonly components?: readonly {
      readonly type?: string;
      readonly sub_type?: string;
      readonly parameters?: readonly { readonly text?: string }[];
    }[];
  };
  readonly biz_opaque_callback_data?: string;
};

function sendMessage({ json }: SeenRequest, take: Parameters<Parameters<typeof startHttpSimulator>[0]['answer']>[1]) {
  const { messaging_product, to = '', type, template, biz_opaque_callback_data } = (json ?? {}) as SentTemplate;
  if (messaging_product !== 'whatsapp' || type !== 'template')
    return refusal(400, 100, 'The parameter messaging_product is required.');
  if (!/^\+?\d{7,15}$/.test(to)) return refusal(400, 131009, 'Parameter value is not valid', details('to'));
  if (template?.name !== TEMPLATE || !LANGUAGES.includes(template.language?.code ?? ''))
    return refusal(404, 132001, 'Template name does not exist in the translation');
  const textOf = (kind: string) => template.components?.find((each) => each.type === kind)?.parameters?.[0]?.text;
  const code = textOf('body');
  if (code === undefined || textOf('button') === undefined)
    return refusal(
      400,
      131008,
      'Required parameter is missing',
      details('buttons: Button at index 0 needs a parameter'),
    );
  if (code.length > 15) return refusal(400, 132005, 'Translated text too long');
  const digits = to.replace('+', '');
  const id = `wamid.${Buffer.from(randomUUID()).toString('base64')}`;
  const fields = biz_opaque_callback_data === undefined ? {} : { biz_opaque_callback_data };
  take({ id, to: `+${digits}`, text: code, reportUrl: undefined, fields });
  return {
    status: 200,
    body: {
      messaging_product: 'whatsapp',
      contacts: [{ input: to, wa_id: digits }],
      messages: [{ id, message_status: 'accepted' }],
    },
  };
}

function webhook(status: object): string {
  const metadata = { display_phone_number: '15550783881', phone_number_id: PHONE_NUMBER_ID };
  const value = { messaging_product: 'whatsapp', metadata, statuses: [status] };
  return JSON.stringify({
    object: 'whatsapp_business_account',
    entry: [{ id: '102290129340398', changes: [{ value, field: 'messages' }] }],
  });
}
