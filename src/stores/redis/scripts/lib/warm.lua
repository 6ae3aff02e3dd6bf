-- To be asked of last, before the script itself: nothing is done on a server that may lack something. Needs: app

if not epoch then return 'cold' end
