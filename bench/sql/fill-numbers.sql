-- What is kept by number of the verifications that fill-verifications.sql makes of the same four lists.
INSERT INTO countersign.number (app, number, starts, live)
SELECT 'bench', '+99891' || lpad((place * 7368787 % 10000000)::text, 7, '0'), ARRAY[at, 1],
       jsonb_build_object('open login', 'ver_' || tail)
  FROM (
    SELECT slot.at + n * 32768 / slot.count AS at, slot.first + n AS place,
           slot.time || left(md5((slot.first + n)::text), 19) AS tail
      FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[]) AS slot (at, time, first, count),
           generate_series(0, slot.count - 1) AS n
  ) made
    ON CONFLICT DO NOTHING
