const names = new Intl.DisplayNames(['en'], { type: 'language', fallback: 'code' });

/** `uz` → `Uzbek`; what is no language tag stays as it is. */
export function describeLanguage(locale: string): string {
  try {
    return names.of(locale) ?? locale;
  } catch {
    return locale;
  }
}
