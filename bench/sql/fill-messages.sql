-- The messages of the verifications that fill-verifications.sql makes of the same four lists.
INSERT INTO countersign.message (
  id, app, verification_id, number, country, channel, channel_fixed, locale, encoding, segments, code_number, state,
  created_at, valid_until, dispatches)
SELECT 'msg_' || tail, 'bench', 'ver_' || tail, '+99891' || lpad((place * 7368787 % 10000000)::text, 7, '0'), 'UZ', 'sms',
       false, 'uz', 'GSM-7', 1, 0, 'queued', at, at + 600000,
       format('{"provider":"noop","channel":"sms","at":%s,"state":"queued","providerMessageId":"msg_%s"}', at, tail)
  FROM (
    SELECT slot.at + n * 32768 / slot.count AS at, slot.first + n AS place,
           slot.time || left(md5((slot.first + n)::text), 19) AS tail
      FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS slot (at, time, first, count),
           generate_series(0, slot.count - 1) AS n
  ) made
