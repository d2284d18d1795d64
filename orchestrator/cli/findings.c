#include "orchestrator/cli/findings.h"

#include <stdio.h>
#include <string.h>

void findings_print(void *ctx, const json_t *finding)
{
    const struct cli *cli = ctx;
    const char *severity = out_str(finding, "severity");
    const json_t *fix = json_object_get(finding, "fix");

    if (cli->json || (cli->quiet && strcmp(severity, "ok") == 0))
        return;
    (void)printf("%-8s  %-30s  %s\n", severity, out_str(finding, "code"), out_str(finding, "message"));
    if (json_is_string(fix)) {
        /* Several statements come on lines of their own. */
        const char *line = json_string_value(fix);
        while (*line != '\0') {
            size_t len = strcspn(line, "\n");
            (void)printf("%-8s  %-30s    -> %.*s\n", "", "", (int)len, line);
            line += len + (line[len] == '\n');
        }
    }
    (void)fflush(stdout);
}

int findings_worst(const json_t *findings)
{
    const json_t *one;
    size_t i;
    int worst = 0;

    json_array_foreach(findings, i, one)
    {
        const char *severity = out_str(one, "severity");
        int v = strcmp(severity, "critical") == 0 ? 2 : strcmp(severity, "warning") == 0 ? 1 : 0;
        if (v > worst)
            worst = v;
    }
    return worst;
}
