import { chooseLocale, defaultTexts } from '../../domain/texts.ts';
import type { App } from '../../service/app.ts';
import { dateOf, type Path } from './call.ts';
import { sliceAnswer } from './lists.ts';
import { derivedSid } from './sids.ts';

export const templatePaths: readonly Path[] = [
  {
    path: '/Templates',
    async GET(call) {
      const { app, accountSid, query } = call;
      const name = query.text('FriendlyName');
      const templates = [
        {
          sid: templateSidOf(app),
          account_sid: accountSid,
          friendly_name: app.brand,
          channels: ['sms', 'call', 'whatsapp', 'email'],
          translations: translationsOf(app),
        },
      ];
      return sliceAnswer(
        call,
        '/Templates',
        'templates',
        templates.filter(({ friendly_name }) => name === undefined || name === friendly_name),
      );
    },
  },
];

/** An app has one set of texts, so there is one template. */
export function templateSidOf(app: App): string {
  return derivedSid('HJ', app.id);
}

/** The app's own texts, and ours for the languages that it has none for. */
function textsOf(app: App): Readonly<Record<string, string>> {
  return { ...defaultTexts, ...Object.fromEntries(app.texts) };
}

export function hasTextFor(app: App, locale: string): boolean {
  return chooseLocale(locale, '', Object.keys(textsOf(app))) !== '';
}

const placeholders: Readonly<Record<string, string>> = {
  brand: '{{friendly_name}}',
  code: '{{code}}',
  minutes: '{{ttl}}',
};

/** They come with the configuration, which has no date. */
const UNDATED = dateOf(Date.UTC(2025, 0, 1));

function translationsOf(app: App) {
  const translations = Object.entries(textsOf(app)).map(([locale, text]) => [
    locale,
    {
      is_default_translation: locale === (app.locale ?? 'en'),
      status: 'approved',
      locale,
      text: text.replace(/\{(brand|code|minutes)\}/g, (_, name: string) => placeholders[name] ?? ''),
      date_updated: UNDATED,
      date_created: UNDATED,
    },
  ]);
  return Object.fromEntries(translations);
}
