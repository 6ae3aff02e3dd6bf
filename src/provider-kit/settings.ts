import Type from 'typebox';

/** Where a vendor's API is; every provider has it, so that it can be pointed at a simulator. */
export function baseUrlSetting(standard: string) {
  return Type.Optional(Type.String({ description: `where the API is, ${standard} unless told otherwise` }));
}

/** Without the slashes at its end, so that a path can be put behind. */
export function baseOf(baseUrl: string | undefined, standard: string): string {
  return (baseUrl ?? standard).replace(/\/+$/, '');
}

/** @param variable e.g. `ESKIZ_BASE_URL` */
export function addressFaults(variable: string, baseUrl: string | undefined): string[] {
  if (baseUrl === undefined || (URL.canParse(baseUrl) && /^https?:\/\//i.test(baseUrl))) return [];
  return [`${variable} must be an address that starts with https:// (or http:// for a simulator)`];
}
