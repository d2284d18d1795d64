/* Prints tidemark.conf(5) from the option table: make man. */

#include "orchestrator/config/config.h"

int main(void)
{
    struct tide_err err = TIDE_ERR_INIT;
    if (config_write_man(stdout, &err) == TIDE_OK)
        return 0;
    (void)fprintf(stderr, "%s\n", err.msg);
    return 1;
}
