-- Comes last: what steps do not leave to the server's or the user's settings. They are told from the functions that they are made
-- of by the name of their argument. A function's
-- settings end with it, so nothing of them is left in the session.
DO $$
DECLARE
  called regprocedure;
BEGIN
  FOR called IN
    SELECT p.oid FROM pg_proc p
     WHERE p.pronamespace = (SELECT l.pronamespace FROM pg_proc l WHERE l.oid = 'steps.lock'::regproc)
       AND p.pronargs = 1 AND p.proargnames[1] IN ('step', 'batch')
  LOOP
    -- Bytes within JSON are read in that form.
    EXECUTE format('ALTER FUNCTION %s SET bytea_output = %L', called, 'hex');
    -- Nobody's function or operator of the same name comes before the server's own.
    EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', called);
  END LOOP;
END $$;
