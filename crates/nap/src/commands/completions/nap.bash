# bash breaks words at @, : and =, and nap wants DB@BRANCH and NAME=VALUE whole: so what stands together is put together
# again, and what was there already is cut off the answers.
_nap() {
    local IFS=$'\013' rest=${COMP_LINE:0:COMP_POINT} words=() before i word
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $i == "$COMP_CWORD" ]]; then
            # The word that is being completed goes no further than the cursor.
            word=$rest
            while [[ $word == [[:space:]]* ]]; do word=${word:1}; done
            before=${rest%"$word"}
        else
            before=${rest%%"$word"*}
            rest=${rest#*"$word"}
        fi
        if [[ $i == 0 || -n $before ]]; then
            words+=("$word")
        else
            words[${#words[@]} - 1]+=$word
        fi
    done
    local whole=${words[${#words[@]} - 1]} last=$2
    # Of a word that ends in a separator bash gives the separator as the last part, and replaces nothing.
    case $last in [@:=]) last= ;; esac
    COMPREPLY=($(
        NAP_COMPLETE=bash _CLAP_IFS=$IFS _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) "$1" -- "${words[@]}" 2>/dev/null
    ))
    # Options are many: they are told to who asks for one.
    if [[ $whole != -* ]]; then
        for i in "${!COMPREPLY[@]}"; do
            if [[ ${COMPREPLY[i]} == -* ]]; then unset "COMPREPLY[i]"; fi
        done
    fi
    COMPREPLY=("${COMPREPLY[@]#"${whole%"$last"}"}")
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/@] ]]; then
        compopt -o nospace
    fi
}
complete -o bashdefault -F _nap nap
