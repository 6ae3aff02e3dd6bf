/** A body that is wrong before its route sees it, how it is sent, and what a framework says to it. */
export type BadBody = {
  readonly what: string;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status: number;
  readonly answer: object;
};

/** More than the 16 KiB that are read. */
const tooLarge = (field: string) => ({ [field]: '5'.repeat(20_000) });
const notUtf8 = (field: string) => Buffer.from(`{"${field}":"\xff\xfe"}`, 'latin1');
const TOO_LARGE = { detail: 'The body may have 16 KiB at most, that of a delivery report 1 MiB.' };

/** As Django REST Framework answers; `field` is a text that a route needs. @param others further ones that it needs */
export function djangoBadBodies(field: string, others: Readonly<Record<string, string>> = {}): BadBody[] {
  const said = (sentence: string) => ({ [field]: [sentence] });
  const required = 'This field is required.';
  const allRequired = Object.fromEntries([field, ...Object.keys(others)].map((each) => [each, [required]]));
  const notJson = { detail: 'JSON parse error - Expecting value: line 1 column 1 (char 0)' };
  const notADictionary = (type: string) => ({
    non_field_errors: [`Invalid data. Expected a dictionary, but got ${type}.`],
  });
  const plain = { 'content-type': 'text/plain' };
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const value = (what: string, of: unknown, sentence: string): BadBody => ({
    what,
    body: { ...others, [field]: of },
    status: 400,
    answer: said(sentence),
  });
  return [
    { what: 'no body', body: undefined, status: 400, answer: allRequired },
    { what: 'an empty body', body: '', status: 400, answer: allRequired },
    { what: 'an empty object', body: {}, status: 400, answer: allRequired },
    { what: 'another name of the field', body: { ...others, fone: '1' }, status: 400, answer: said(required) },
    value('null', null, 'This field may not be null.'),
    value('an object', { a: '1' }, 'Not a valid string.'),
    value('a list', ['1'], 'Not a valid string.'),
    value('true', true, 'Not a valid string.'),
    value('an empty text', '', 'This field may not be blank.'),
    value('spaces', ' \t ', 'This field may not be blank.'),
    { what: 'a list in place of the object', body: '[]', status: 400, answer: notADictionary('list') },
    { what: 'a text in place of the object', body: '"1"', status: 400, answer: notADictionary('str') },
    { what: 'a whole number in place of the object', body: '1', status: 400, answer: notADictionary('int') },
    { what: 'a fraction in place of the object', body: '1.5', status: 400, answer: notADictionary('float') },
    { what: 'true in place of the object', body: 'true', status: 400, answer: notADictionary('bool') },
    { what: 'null in place of the object', body: 'null', status: 400, answer: notADictionary('NoneType') },
    { what: 'half an object', body: `{"${field}":`, status: 400, answer: notJson },
    { what: 'bytes that are no UTF-8', body: notUtf8(field), status: 400, answer: notJson },
    {
      what: 'a text',
      body: JSON.stringify({ [field]: '1' }),
      headers: plain,
      status: 415,
      answer: { detail: 'Unsupported media type "text/plain" in request.' },
    },
    {
      what: 'a form, which any page may post',
      body: `${field}=1`,
      headers: form,
      status: 415,
      answer: { detail: 'Unsupported media type "application/x-www-form-urlencoded" in request.' },
    },
    { what: 'more than is read', body: tooLarge(field), status: 413, answer: TOO_LARGE },
  ];
}

/** As FastAPI answers; `field` is a text that a route needs. @param others further ones that it needs */
export function fastApiBadBodies(field: string, others: Readonly<Record<string, string>> = {}): BadBody[] {
  const said = (loc: readonly (string | number)[], msg: string, type: string) => ({ detail: [{ loc, msg, type }] });
  const missing = said(['body', field], 'Field required', 'missing');
  const allMissing = {
    detail: [field, ...Object.keys(others)].map((each) => ({
      loc: ['body', each],
      msg: 'Field required',
      type: 'missing',
    })),
  };
  const noBody = said(['body'], 'Field required', 'missing');
  const noText = said(['body', field], 'Input should be a valid string', 'string_type');
  const noObject = said(
    ['body'],
    'Input should be a valid dictionary or object to extract fields from',
    'model_attributes_type',
  );
  const notJson = said(['body', 0], 'JSON decode error', 'json_invalid');
  const plain = { 'content-type': 'text/plain' };
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const value = (what: string, of: unknown): BadBody => ({
    what,
    body: { ...others, [field]: of },
    status: 422,
    answer: noText,
  });
  return [
    { what: 'no body', body: undefined, status: 422, answer: noBody },
    { what: 'an empty body', body: '', status: 422, answer: noBody },
    { what: 'an empty object', body: {}, status: 422, answer: allMissing },
    { what: 'another name of the field', body: { ...others, fone: '1' }, status: 422, answer: missing },
    value('a number', 12125551234),
    value('null', null),
    value('an object', { a: '1' }),
    value('a list', ['1']),
    value('true', true),
    { what: 'a list in place of the object', body: '[]', status: 422, answer: noObject },
    { what: 'null in place of the object', body: 'null', status: 422, answer: noObject },
    { what: 'half an object', body: `{"${field}":`, status: 422, answer: notJson },
    { what: 'bytes that are no UTF-8', body: notUtf8(field), status: 422, answer: notJson },
    { what: 'a text', body: JSON.stringify({ [field]: '1' }), headers: plain, status: 422, answer: noObject },
    { what: 'a form, which any page may post', body: `${field}=1`, headers: form, status: 422, answer: noObject },
    { what: 'more than is read', body: tooLarge(field), status: 413, answer: TOO_LARGE },
  ];
}
